/* Things to set. Each has a label, a unit where it has one, and a way by keyboard; each factory returns
   {element, …}, and calls back only for what a person did.

   slider({label, unit, min, max, step, value, neutral, format, histogram, ticks, onInput, onChange})
     → {element, input, value (get, set), set({min, max, …})}
     neutral: where a double click, or the key 0 or Delete, puts it back (default: value). format: number → text.
     histogram: counts of equal bins from min to max, drawn behind. ticks: values that are marked (quantiles).
     onInput(value): while it moves. onChange(value): when it is let go.
   select({label, options: [{value, text}], value, onChange}) → {element, input, value}
   choice({label, options, value, onChange}) → the same as buttons side by side, for two to four options
   check({label, value, onChange}) → {element, input, value}
   text({label, value, placeholder, type, onInput}) → {element, input, value}
   button(text, onClick, {kind: "main" | "plain", label}) → element; it is disabled while onClick's promise is pending
   dropZone({label, hint, accept, multiple, onFiles}) → {element, open()}: files by dropping, choosing or pasting */

import { h, svg, unique } from "./elements.js";
import { number } from "./format.js";

export function slider(settings) {
  let s = { min: 0, max: 1, step: "any", unit: "", format: number, ticks: [], ...settings };
  s.neutral ??= s.value;
  const id = unique("slider");
  const input = h("input", { id, type: "range", min: s.min, max: s.max, step: stepOf(s), ".value": s.value });
  const output = h("output", { for: id });
  const label = h("label", { for: id, text: s.label });
  const track = h("div", { class: "track" }, input);
  const element = h("div", { class: "slider" }, label, output, track);
  const show = () => {
    const text = s.format(Number(input.value)) + (s.unit ? ` ${s.unit}` : "");
    output.textContent = text;
    input.setAttribute("aria-valuetext", text);
  };
  const back = () => {
    input.value = s.neutral;
    show();
    s.onInput?.(Number(input.value));
    s.onChange?.(Number(input.value));
  };
  const draw = () => {
    track.querySelector("svg")?.remove();
    element.classList.toggle("with-histogram", Boolean(s.histogram));
    if (s.histogram || s.ticks.length) track.prepend(behind(s));
  };
  input.addEventListener("input", () => { show(); s.onInput?.(Number(input.value)); });
  input.addEventListener("change", () => s.onChange?.(Number(input.value)));
  input.addEventListener("dblclick", back);
  input.addEventListener("keydown", (event) => {
    if (event.key !== "0" && event.key !== "Delete") return;
    event.preventDefault();
    back();
  });
  input.title = "Double click or press 0: back to the middle";
  draw();
  show();
  return {
    element,
    input,
    get value() { return Number(input.value); },
    set value(v) { input.value = v; show(); },
    set(changes) {
      s = { ...s, ...changes };
      for (const name of ["min", "max"]) input[name] = s[name];
      input.step = stepOf(s);
      if ("value" in changes) input.value = changes.value;
      if ("label" in changes) label.textContent = s.label;
      draw();
      show();
    },
  };
}

/* A step that a keyboard can use: "any" leaves browsers with steps of 1. */
function stepOf(s) {
  return s.step === "any" ? (s.max - s.min) / 200 || 1 : s.step;
}

function behind({ min, max, histogram, ticks }) {
  const top = Math.max(1, ...(histogram ?? []));
  const width = 100 / (histogram?.length || 1);
  const at = (v) => (100 * (v - min)) / (max - min || 1);
  return svg("svg", { viewBox: "0 0 100 26", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("g", { class: "bars" }, (histogram ?? []).map((n, i) =>
      svg("rect", { x: i * width, width: width * 0.9, y: 26 - (26 * n) / top, height: (26 * n) / top }))),
    svg("g", { class: "ticks" }, ticks.filter((v) => v >= min && v <= max).map((v) =>
      svg("line", { x1: at(v), x2: at(v), y1: 19, y2: 26 }))));
}

export function select({ label, options, value, onChange }) {
  const id = unique("select");
  const input = h("select", { id }, options.map((o) => h("option", { value: o.value, text: o.text, disabled: o.disabled })));
  if (value !== undefined && value !== null) input.value = value;
  input.addEventListener("change", () => onChange?.(input.value));
  return field(input, h("label", { for: id, text: label }));
}

function field(input, label) {
  return {
    element: h("div", { class: "field" }, label, input),
    input,
    get value() { return input.value; },
    set value(v) { input.value = v; },
  };
}

export function choice({ label, options, value, onChange }) {
  const name = unique("choice");
  const inputs = options.map((o) => h("input", { type: "radio", name, value: o.value, ".checked": String(o.value) === String(value) }));
  inputs.forEach((input) => input.addEventListener("change", () => onChange?.(input.value)));
  const element = h("fieldset", { class: "field" }, h("legend", { class: "unseen", text: label }),
    h("span", { class: "label", "aria-hidden": "true", text: label }),
    h("div", { class: "choice" }, options.map((o, i) => h("label", {}, inputs[i], o.text))));
  return {
    element,
    get value() { return inputs.find((i) => i.checked)?.value; },
    set value(v) { inputs.forEach((i) => { i.checked = i.value === String(v); }); },
  };
}

export function check({ label, value, onChange }) {
  const input = h("input", { type: "checkbox", ".checked": Boolean(value) });
  input.addEventListener("change", () => onChange?.(input.checked));
  return {
    element: h("label", { class: "check" }, input, label),
    input,
    get value() { return input.checked; },
    set value(v) { input.checked = v; },
  };
}

export function text({ label, value = "", placeholder, type = "text", onInput }) {
  const id = unique("text");
  const input = h("input", { id, type, placeholder, ".value": value, autocomplete: "off" });
  input.addEventListener("input", () => onInput?.(input.value));
  return field(input, h("label", { for: id, text: label }));
}

export function button(words, onClick, { kind = "", label } = {}) {
  const element = h("button", { type: "button", class: kind, text: words, "aria-label": label });
  element.addEventListener("click", async (event) => {
    element.disabled = true;
    try {
      await onClick(event);
    } finally {
      element.disabled = false;
    }
  });
  return element;
}

export function dropZone({ label, hint = "", accept = "image/*", multiple = false, onFiles }) {
  const id = unique("files");
  const input = h("input", { id, type: "file", accept, multiple });
  const element = h("div", { class: "drop" }, input, h("label", { for: id, text: label }), hint && h("div", { class: "small", text: hint }));
  const give = (list) => {
    const files = multiple ? [...list] : [...list].slice(0, 1);
    if (files.length) onFiles(files);
  };
  input.addEventListener("change", () => {
    give(input.files);
    input.value = ""; // the same file again is a new choice
  });
  for (const [event, over] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
    element.addEventListener(event, (e) => {
      e.preventDefault();
      element.classList.toggle("over", over);
      if (event === "drop") give(e.dataTransfer.files);
    });
  }
  element.addEventListener("paste", (e) => give(e.clipboardData.files));
  return { element, open: () => input.click() };
}
