/* Pictures over the steps of a training, with a slider through time.

   frames({kinds, kind, step, onMove}) → {element, update(kinds)}
     kinds: [{value, text, steps: [numbers, rising], src(step) → address}]. kind, step: where to begin.
     onMove({kind, step}): what a person chose; step is null while the newest one is followed.
   The slider that stands at its end stays there when a new step comes. */

import { announce, fill, h } from "./elements.js";
import { button, select, slider } from "./controls.js";
import { number } from "./format.js";
import { shownWidth } from "./picture.js";

const PLAY_MS = 140, SIZE = 560;

export function frames({ kinds, kind, step, onMove }) {
  let all = kinds;
  let now = all.find((k) => k.value === kind) ?? all[0];
  let at = step === null ? -1 : nearest(now.steps, step);
  let timer = null;
  const image = h("img", { class: "pixels", alt: "" });
  const figure = h("figure", { class: "picture frames" }, image);
  const place = h("div", { class: "field" });
  const element = h("div", { class: "stack" }, figure, h("div", { class: "row top-aligned frame-controls" }));
  image.addEventListener("load", () => {
    image.style.width = `${shownWidth(image.naturalWidth, image.naturalHeight, SIZE)}px`;
    image.classList.toggle("pixels", image.naturalWidth < SIZE);
  });

  const moved = () => onMove?.({ kind: now.value, step: at < 0 || at === now.steps.length - 1 ? null : now.steps[at] });
  const show = () => {
    const shown = now.steps.at(at < 0 ? -1 : at);
    if (shown === undefined) return;
    image.src = now.src(shown);
    image.alt = `${now.text} at step ${number(shown)}`;
    for (const near of [at + 1, at + 2]) if (at >= 0 && near < now.steps.length) new Image().src = now.src(now.steps[near]);
  };
  const bar = slider({ label: "Step", min: 0, max: 1, step: 1, value: 0, format: (i) => number(now.steps[Math.round(i)] ?? 0),
    onInput: (i) => { stop(); go(Math.round(i)); } });
  bar.input.title = "Drag, or use the arrow keys, to go through the training";
  const play = button("Play", () => (timer ? stop() : start()), { label: "Play from here" });

  function go(i) {
    at = i >= now.steps.length - 1 ? -1 : i;
    show();
    moved();
  }
  function start() {
    let i = at < 0 ? 0 : at;
    play.textContent = "Stop";
    timer = setInterval(() => {
      if (!element.isConnected || i >= now.steps.length - 1) {
        stop();
        return;
      }
      i += 1;
      bar.value = i;
      go(i);
    }, PLAY_MS);
  }
  function stop() {
    clearInterval(timer);
    timer = null;
    play.textContent = "Play";
  }
  const set = () => {
    const last = now.steps.length - 1;
    bar.set({ max: Math.max(1, last), neutral: last, value: at < 0 ? last : at });
    bar.element.hidden = play.hidden = last < 1;
  };
  const choose = () => {
    const chooser = all.length > 1 && select({ label: "Picture", options: all.map((k) => ({ value: k.value, text: k.text })), value: now.value,
      onChange: (value) => {
        stop();
        now = all.find((k) => k.value === value);
        at = -1;
        set();
        show();
        moved();
      } });
    fill(element.lastChild, chooser && chooser.element, place, play);
    fill(place, bar.element);
  };
  choose();
  set();
  show();
  return {
    element,
    update(next) {
      const before = all.map((k) => k.value).join();
      const grown = next.find((k) => k.value === now.value)?.steps.length > now.steps.length;
      const kept = at < 0 ? null : now.steps[at];
      all = next;
      now = all.find((k) => k.value === now.value) ?? all[0];
      at = kept === null ? -1 : nearest(now.steps, kept);
      if (all.map((k) => k.value).join() !== before) choose();
      if (!grown) return;
      set();
      if (at < 0) {
        show();
        announce(`New picture at step ${number(now.steps.at(-1))}`);
      }
    },
  };
}

function nearest(steps, step) {
  let best = 0;
  steps.forEach((s, i) => { if (Math.abs(s - step) < Math.abs(steps[best] - step)) best = i; });
  return best;
}
