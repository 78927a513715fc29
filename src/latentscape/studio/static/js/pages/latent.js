/* Latent: a place in latent space and its picture. Everything that the picture depends on is in the address:
   z (the latent), label, seed (a draw that nobody has moved), example (whose original stands beside),
   plane, at (its two coordinates, or the three pictures it goes through), colour. */

import { paced } from "../api.js";
import { button, choice, dropZone, select, slider, text } from "../controls.js";
import { command } from "../copy.js";
import { announce, failure, fill, h, loading, message, sentence } from "../elements.js";
import { bytesOf, fromText, model, mse, neat, parts, slot, styles, toText, valuesSaid, view } from "../explore.js";
import { number } from "../format.js";
import { plane as makePlane } from "../plane.js";

const REST_MS = 220;
const FEW_LABELS = 12;
const MORE = 10;

export const page = {
  name: "latent",
  title: "Latent",
  order: 20,
  of: "run",
  match: (run) => run.abilities.includes("decode"),
  async render(root, context) {
    styles();
    const from = model(context.run.id);
    const card = await from.card(context.signal);
    await new Latent(root, context, from, card).begin();
  },
};

class Latent {
  constructor(root, context, from, card) {
    Object.assign(this, { root, context, from, card, thumbs: new Map(), timer: null, plane: null });
    this.slots = { picture: slot("picture"), nearest: slot("nearest") };
    this.state = { z: null, label: null, seed: null, example: null, moved: false };
    this.original = null;
    // One request under way and the newest waiting, so that the studio never has to drop one of them.
    this.decode = paced((signal) => this.drawNow(signal));
    this.near = paced((signal) => this.showNearest(signal));
    this.lay();
  }

  /* ---- what stands where ------------------------------------------------------------------------------------------ */

  lay() {
    const { card } = this;
    this.view = view({ shape: card.shape, size: 336, alt: "The decoded picture" });
    this.view.element.classList.add("current");
    this.said = h("p", { class: "small quiet said" });
    this.originalBox = h("div", { class: "original", hidden: true });
    this.nearestBox = h("div", { class: "nearest" }, this.card.missing ? null : loading("Looking for the nearest training pictures …"));
    this.trouble = h("div", {});
    this.map = makePlane({
      label: "Map of the latent space. Arrow keys move the cross-hair and the picture follows, Enter chooses the nearest dot, C catches the 50 nearest dots",
      onMove: (x, y, event) => this.onPlane(x, y, event),
      onPick: (i) => this.guard(() => this.fromDot(i)),
      onLasso: (picks) => this.guard(() => this.onLasso(picks)),
      thumbnail: (i) => this.thumbnail(i),
      paint: (canvas, data) => this.paint(canvas, data),
    });
    this.lassoBox = h("div", { class: "caught", hidden: true });
    this.sliderBox = h("div", { class: "sliders" });
    this.sliderNote = h("p", { class: "small quiet" });
    this.more = button("More coordinates", () => this.guard(() => this.addSliders(MORE)));
    this.more.hidden = true;
    this.command = command(() => this.commandText ?? "…");
    this.planeControls = h("div", { class: "row controls" });
    this.mapWays = h("div", { class: "row small" });
    fill(this.root,
      h("h1", { text: "Latent" }),
      this.trouble,
      card.missing && message("warn", "", `The run's data cannot be had, so the map shows draws of the prior: ${card.missing}`),
      h("div", { class: "latent" },
        h("section", { class: "map-side", "aria-label": "Map" }, this.planeControls, this.map.element, this.mapWays, this.lassoBox),
        h("section", { class: "picture-side", "aria-label": "Picture" },
          h("div", { class: "row controls" }, this.beginnings()),
          h("div", { class: "pair" }, this.view.element, this.originalBox),
          this.said, this.zoomChoice(), this.labelSwitch(), this.nearestBox)),
      h("section", { "aria-label": "Coordinates" },
        h("h2", { text: "Coordinates" }), this.sliderNote, this.sliderBox, this.more),
      this.attributes(),
      h("section", { "aria-label": "Command" }, h("h2", { text: "Make it again" }), this.command,
        h("p", { class: "small quiet", text: "The address of this page brings back the same picture, too." })));
  }

  beginnings() {
    const { can, examples, split } = this.card;
    const out = [];
    if (can.sample) {
      out.push(button("Random", () => this.guard(() => this.fromSeed(Math.floor(Math.random() * 2 ** 31))), { label: "Random draw from the prior" }));
    }
    if (can.encode) out.push(button("Mean", () => this.guard(() => this.fromMean()), { label: "The mean of the latents" }));
    if (can.encode && examples) {
      this.exampleInput = text({ label: `No. of a ${split} picture`, type: "number", value: "" });
      const input = this.exampleInput.input;
      Object.assign(input, { min: 0, max: examples - 1, step: 1 });
      input.addEventListener("change", () => input.value !== "" && this.guard(() => this.fromExample(Number(input.value))));
      out.push(this.exampleInput.element);
    }
    if (can.encode && can.upload) {
      this.drop = dropZone({ label: "Open a picture", hint: "or drop one here", onFiles: ([file]) => this.guard(() => this.fromFile(file)) });
      this.drop.element.classList.add("small-drop");
      out.push(this.drop.element);
    }
    return out;
  }

  zoomChoice() {
    if (!this.card.image) return null;
    const sizes = [["168", "Small"], ["336", "Medium"], ["560", "Large"]];
    return choice({ label: "Size of the picture", value: "336", options: sizes.map(([value, name]) => ({ value, text: name })),
      onChange: (v) => this.view.zoom(Number(v)) }).element;
  }

  labelSwitch() {
    const { labels } = this.card;
    if (!labels.length) return null;
    const options = labels.map((name, i) => ({ value: String(i), text: name }));
    const make = labels.length <= FEW_LABELS ? choice : select;
    this.label = make({ label: "Label", options, value: "0", onChange: (v) => this.change({ label: Number(v), seed: null }, { keepSeed: true }) });
    return this.label.element;
  }

  attributes() {
    const { attributes } = this.card;
    if (!attributes.length) return null;
    this.attribute = select({ label: "Attribute", value: "", options: [{ value: "", text: "choose one" }, ...attributes.map((a) => ({ value: a, text: a }))],
      onChange: (name) => this.guard(() => this.chooseAttribute(name)) });
    this.strength = slider({ label: "Strength", unit: "σ", min: -3, max: 3, step: 0.05, value: 0, neutral: 0, onInput: (v) => this.push(v) });
    this.strength.element.hidden = true;
    this.attributeSaid = h("p", { class: "small quiet" });
    return h("section", { "aria-label": "Attribute directions" }, h("h2", { text: "Along an attribute" }),
      h("div", { class: "columns" }, this.attribute.element, this.strength.element), this.attributeSaid);
  }

  /* ---- the start --------------------------------------------------------------------------------------------------- */

  async begin() {
    this.context.onQuery(() => this.guard(() => this.read()));
    this.context.signal.addEventListener("abort", () => clearTimeout(this.timer));
    await this.guard(() => this.read());
    if (!this.state.z) await (this.card.can.encode ? this.fromMean() : this.fromSeed(0)); // the address asked for what is not there
    await Promise.all([this.guard(() => this.readPlane()), this.guard(() => this.addSliders(MORE))]);
  }

  /* What the address says; without a word an example of the data, or a draw. */
  async read() {
    const q = this.context.query;
    const whole = (name) => (/^\d+$/.test(q.get(name) ?? "") ? Number(q.get(name)) : null);
    const z = fromText(q.get("z"), this.card.latent_dim);
    const label = whole("label");
    const [seed, example] = [whole("seed"), whole("example")];
    if (example !== null && this.card.can.encode) await this.fromExample(example, z);
    else if (z) await this.go({ z, label: label ?? (this.card.labels.length ? 0 : null), seed: null, example: null });
    else if (seed !== null) await this.fromSeed(seed);
    else if (this.card.can.encode && this.card.examples) await this.fromExample(0);
    else if (this.card.can.encode) await this.fromMean();
    else await this.fromSeed(0);
    if (label !== null && this.card.labels.length && label !== this.state.label) await this.go({ label, moved: this.state.moved }, this.name);
  }

  async fromSeed(seed) {
    const begun = await this.from.start({ seed }, this.context.signal);
    this.setOriginal(null);
    await this.go({ z: begun.z, label: this.state.label ?? begun.label, seed, example: null }, begun.name);
  }

  async fromMean() {
    const begun = await this.from.start({}, this.context.signal);
    this.setOriginal(null);
    await this.go({ z: begun.z, label: this.state.label ?? begun.label, seed: null, example: null }, begun.name);
  }

  /* z: where it was moved to since; its own latent without. */
  async fromExample(example, z = null) {
    const begun = await this.from.start({ example }, this.context.signal);
    this.setOriginal(begun);
    await this.go({ z: z ?? begun.z, label: begun.label, seed: null, example, moved: Boolean(z) }, z ? "" : begun.name);
  }

  async fromDot(dot) {
    const positions = this.plane.positions;
    if (positions && this.card.can.encode) { await this.fromExample(positions[dot]); return; }
    const begun = await this.from.start({ dot }, this.context.signal);
    this.setOriginal(null);
    await this.go({ z: begun.z, label: begun.label, seed: null, example: null }, begun.name);
  }

  async fromFile(file) {
    const begun = await this.from.encode(file, null, this.context.signal);
    this.setOriginal(begun, file.name);
    await this.go({ z: begun.z, label: begun.label, seed: null, example: null }, file.name);
  }

  setOriginal(begun, name = begun?.name) {
    this.original = begun ? { bytes: bytesOf(begun.original), name, mse: begun.mse } : null;
    this.originalBox.hidden = !begun;
    if (!begun) return;
    this.originalView = view({ shape: this.card.shape, size: 140, alt: `The original: ${name}`, title: name });
    this.originalView.draw(this.original.bytes);
    this.originalError = h("p", { class: "small quiet" });
    fill(this.originalBox, this.originalView.element, this.originalError);
    if (begun.label_how) this.originalError.title = `Its class: ${begun.label_how}`;
  }

  /* ---- moving ------------------------------------------------------------------------------------------------------ */

  /* A new place, drawn; what follows the place (sliders, cross-hair) is set to it. */
  async go(changes, name = "") {
    if (this.state.z) this.clear();
    Object.assign(this.state, { moved: false }, changes);
    this.base = this.state.z;
    if (this.strength) this.strength.value = 0;
    this.name = name;
    this.follow();
    await this.decode();
    this.rest(name);
  }

  /* The same from a pointer: nothing is waited for. */
  change(changes, { stays = false, keepBase = false, keepSliders = false } = {}) {
    Object.assign(this.state, changes, stays ? {} : { seed: null, moved: true });
    this.changedAt = performance.now();
    this.clear();
    if (!keepBase) {
      this.base = this.state.z;
      if (this.strength) this.strength.value = 0;
    }
    this.name = "";
    this.follow(keepSliders);
    this.decode().catch((error) => this.say(error));
    this.rest("");
  }

  follow(keepSliders = false) {
    const { z, label, example } = this.state;
    if (this.label && label !== null) this.label.value = String(label);
    if (this.exampleInput && document.activeElement !== this.exampleInput.input) this.exampleInput.value = example ?? "";
    if (!keepSliders) this.sliders?.forEach((s) => { s.control.value = z[s.index]; });
    if (this.plane) this.map.cross(...this.shadow(z));
  }

  async drawNow(signal) {
    const { z, label } = this.state;
    const began = this.changedAt ?? performance.now();
    this.drawing = true;
    const data = await this.from.decode([z], label, { slot: this.slots.picture, signal }).finally(() => { this.drawing = false; });
    this.view.draw(data);
    // For whoever measures: how long after the pointer's move its picture stood on the canvas.
    this.view.canvas.dispatchEvent(new CustomEvent("drawn", { bubbles: true, detail: { z, ms: performance.now() - began } }));
    if (this.original) this.sayError(data);
  }

  sayError(data) {
    const error = this.card.image ? mse(data, this.original.bytes) : null;
    this.originalError.textContent = error === null
      ? `mean squared error of its reconstruction ${number(this.original.mse, 3)}`
      : `mean squared error of the picture ${number(error, 3)}`;
  }

  /* When nothing has moved for a moment: address, command, neighbours, and a word for screen readers. */
  rest(name) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      // A slow picture is not kept waiting by its own neighbours.
      if (this.drawing) this.rest(name);
      else this.atRest(name).catch((error) => this.say(error));
    }, REST_MS);
  }

  async atRest(name) {
    const { z, label, seed, example, moved } = this.state;
    const begun = seed !== null || (example !== null && !moved);
    this.context.setQuery({ z: begun ? null : toText(z), label, seed, example });
    const said = name || this.placeSaid();
    this.said.textContent = sentence(said);
    this.view.alt = `Decoded picture: ${said}${this.card.image ? "" : `, values ${valuesSaid(this.view.bytes)}`}`;
    announce(`Picture of ${said}`);
    this.commandText = await this.from.command(z, label, seed, this.context.signal);
    this.command.refresh();
    if (!this.card.missing) await this.near();
  }

  placeSaid() {
    const { z, label } = this.state;
    const under = label === null ? "" : `, as ${this.card.labels[label]}`;
    if (z.length <= 4) return z.map((v, i) => `z${i + 1} ${number(v, 3)}`).join(", ") + under;
    const length = Math.sqrt(z.reduce((sum, v) => sum + v * v, 0));
    return `a latent of length ${number(length, 3)}${under}`;
  }

  async showNearest(signal) {
    const answer = await this.from.nearest(this.state.z, this.state.label, this.slots.nearest, signal);
    if (!this.nearestViews) {
      this.nearestViews = answer.found.map(() => view({ shape: this.card.shape, size: this.card.image ? 56 : 80 }));
      this.nearestWords = answer.found.map(() => h("span", { class: "small quiet" }));
      fill(this.nearestBox, h("h3", { text: "Nearest training pictures" }),
        h("ul", { class: "strip" }, this.nearestViews.map((v, i) => h("li", {}, v.element, this.nearestWords[i]))),
        h("p", { class: "small quiet", text: `By mean squared difference of pixels (below each), among ${answer.of}.` }));
    }
    parts(bytesOf(answer.pictures), this.card.shape).forEach((data, i) => {
      const { label: name, mse: far, name: called } = answer.found[i];
      this.nearestViews[i].draw(data);
      this.nearestViews[i].alt = `${called}${name ? `, ${name}` : ""}, mean squared difference ${number(far, 2)}`;
      this.nearestWords[i].textContent = number(far, 2);
    });
  }

  /* ---- the map ----------------------------------------------------------------------------------------------------- */

  async readPlane() {
    const { card } = this;
    const q = this.context.query;
    const mode = choice({ label: "Pointer", value: "cross", options: [{ value: "cross", text: "Drag" }, { value: "lasso", text: "Lasso" }],
      onChange: (v) => { this.map.mode = v; } });
    const out = [mode.element];
    if (card.latent_dim > 2) {
      const kinds = [["principal", "directions of most variation"], ["coordinates", "two coordinates"],
        ["through", card.can.encode ? "through three pictures" : "through three draws"]];
      const offered = kinds.filter(([k]) => k !== "principal" || card.can.encode);
      const usual = card.can.encode ? "principal" : "through";
      this.kind = select({ label: "Plane", value: offered.some(([k]) => k === q.get("plane")) ? q.get("plane") : usual,
        options: offered.map(([value, words]) => ({ value, text: words })), onChange: () => this.guard(() => this.choosePlane()) });
      this.at = h("div", { class: "row at" });
      out.push(this.kind.element, this.at);
    }
    fill(this.planeControls, out);
    await this.loadPlane();
    if (this.plane.colour_choices.length) {
      const options = [...this.plane.colour_choices.map((c) => ({ value: c, text: c })), { value: "none", text: "nothing" }];
      this.colour = select({ label: "Colour by", options, value: q.get("colour") || this.plane.colour.name || "none", onChange: (v) => {
        this.context.setQuery({ colour: v });
        this.guard(() => this.loadPlane());
      } });
      this.planeControls.append(this.colour.element);
    }
    this.mapWays.append(button("Catch the 50 dots nearest to the cross-hair", () => this.map.catchNear(50), { kind: "plain" }));
  }

  async choosePlane() {
    this.context.setQuery({ plane: this.kind.value, at: null });
    await this.loadPlane(true);
  }

  /* chosen: somebody asked for the plane just now; then the place moves to the picture that it begins at. */
  async loadPlane(chosen = false) {
    const asked = { kind: this.kind?.value ?? "", colour: this.colour?.value ?? this.context.query.get("colour") ?? "" };
    const numbers = (this.context.query.get("at") ?? "").split("_").filter(Boolean).map(Number);
    let marks = [];
    if (asked.kind === "coordinates" && numbers.length === 2) asked.coordinates = numbers;
    if (asked.kind === "through") {
      const three = numbers.length === 3 ? numbers : [0, 1, 2];
      const begun = await Promise.all(three.map((n) => this.from.start(this.card.can.encode ? { example: n } : { seed: n }, this.context.signal)));
      asked.through = begun.map((b) => b.z);
      this.atFields(three, ["A", "B", "C"], 0);
      if (chosen) await this.go({ z: begun[0].z, label: begun[0].label ?? this.state.label, seed: null, example: null }, begun[0].name);
      marks = asked.through;
    } else if (this.at) this.at.replaceChildren();
    this.plane = await this.from.plane(asked, this.context.signal);
    if (asked.kind === "coordinates") this.atFields(this.plane.names.map((n) => Number(n.slice(1))), ["Right", "Up"], 1);
    this.map.set(this.plane);
    this.map.marks = marks.map((z, i) => { const [x, y] = this.shadow(z); return { x, y, text: "ABC"[i] }; });
    this.map.cross(...this.shadow(this.state.z));
  }

  atFields(values, names, least) {
    if (!this.at) return;
    const what = this.kind.value === "through" ? (this.card.can.encode ? "picture no." : "seed") : "coordinate";
    const fields = names.map((name, i) => {
      const field = text({ label: `${name}: ${what}`, type: "number", value: values[i] });
      Object.assign(field.input, { min: least, step: 1 });
      field.input.addEventListener("change", () => {
        this.context.setQuery({ plane: this.kind.value, at: fields.map((f) => f.value).join("_") });
        this.guard(() => this.loadPlane(true));
      });
      return field;
    });
    fill(this.at, fields.map((f) => f.element));
  }

  /* Where a latent is seen on the plane. */
  shadow(z) {
    const { axes, origin } = this.plane;
    return axes.map((axis) => axis.reduce((sum, a, i) => sum + a * (z[i] - origin[i]), 0));
  }

  /* The cross-hair moves the latent within the plane; what stands off the plane stays. */
  onPlane(x, y) {
    const [fromX, fromY] = this.shadow(this.state.z);
    const [right, up] = this.plane.axes;
    const z = this.state.z.map((v, i) => neat(v + (x - fromX) * right[i] + (y - fromY) * up[i]));
    this.change({ z });
  }

  async thumbnail(i) {
    if (!this.thumbs.has(i)) {
      if (this.thumbs.size > 500) this.thumbs.clear();
      this.thumbs.set(i, this.from.dot(i, this.context.signal));
    }
    return this.thumbs.get(i);
  }

  paint(canvas, data) {
    const small = view({ shape: this.card.shape, size: 84 });
    small.draw(data);
    canvas.width = small.canvas.width;
    canvas.height = small.canvas.height;
    canvas.style.width = small.canvas.style.width;
    canvas.getContext("2d").drawImage(small.canvas, 0, 0);
  }

  async onLasso(picks) {
    this.lassoBox.hidden = !picks.length;
    if (!picks.length) return;
    const found = await this.from.lasso(picks, this.context.signal);
    const mean = view({ shape: this.card.shape, size: 112, alt: `Mean picture of ${found.n} dots` });
    mean.draw(bytesOf(found.picture));
    const classes = Object.entries(found.classes).slice(0, 6).map(([name, n]) => `${n} × ${name}`).join(", ");
    fill(this.lassoBox, mean.element, h("div", { class: "stack" },
      h("p", { text: `Mean picture of ${found.n.toLocaleString("en")} dots${classes && `: ${classes}`}.` }),
      h("div", { class: "row" },
        button("Go to their mean latent", () => this.guard(() => this.go({ z: found.z, label: found.label ?? this.state.label, seed: null, example: null }, `the mean of ${found.n} dots`).then(() => this.setOriginal(null)))),
        button("Close", () => { this.lassoBox.hidden = true; this.map.release(); }, { kind: "plain" }))));
    announce(`Caught ${found.n} dots${classes && `: ${classes}`}`);
  }

  /* ---- coordinates --------------------------------------------------------------------------------------------------- */

  async addSliders(count) {
    this.sliders ??= [];
    if (!this.sliders.length) fill(this.sliderBox, loading("Asking the decoder which coordinates matter …"));
    const answer = await this.from.sliders(this.sliders.length, count, this.context.signal);
    if (!this.sliders.length) this.sliderBox.replaceChildren();
    for (const s of answer.sliders) {
      const control = slider({ label: `z${s.index + 1}`, min: s.low, max: s.high, value: this.state.z[s.index], neutral: s.mean, histogram: s.bins, ticks: s.quantiles,
        format: (v) => number(v, 3), onInput: (v) => this.onSlider(s.index, v) });
      control.input.setAttribute("aria-describedby", "coordinates-said");
      this.sliders.push({ index: s.index, control });
      this.sliderBox.append(control.element);
    }
    const by = answer.ordered === "importance" ? "the one that changes the picture most first" : "the one that varies most first";
    this.sliderNote.id = "coordinates-said";
    this.sliderNote.textContent = `${this.sliders.length} of ${answer.total}, ${by}. Behind each: ${answer.said}, with ticks at 1, 5, 25, 50, 75, 95 and 99 %. Double click, or 0: back to the mean.`;
    this.more.hidden = this.sliders.length >= answer.total;
  }

  onSlider(index, value) {
    const z = this.state.z.slice();
    z[index] = neat(value);
    this.change({ z }, { keepSliders: true });
  }

  /* ---- attributes ---------------------------------------------------------------------------------------------------- */

  async chooseAttribute(name) {
    this.strength.element.hidden = true;
    this.direction = null;
    this.attributeSaid.textContent = "";
    if (!name) return;
    const found = await this.from.direction(name, this.context.signal);
    this.direction = found.step;
    this.base = this.state.z;
    this.strength.value = 0;
    this.strength.element.hidden = false;
    const r = found.correlation === undefined || found.correlation === null ? "" : ` Its correlation with ${found.name} on the map's pictures is ${number(found.correlation, 3)}.`;
    this.attributeSaid.textContent = `The change of the mean latent with ${found.name}, fitted to ${found.n.toLocaleString("en")} training latents; 1 σ is one standard deviation of the latents along it.${r}`;
  }

  push(strength) {
    if (!this.direction) return;
    this.change({ z: this.base.map((v, i) => neat(v + strength * this.direction[i])) }, { keepBase: true });
  }

  /* ---- what goes wrong ------------------------------------------------------------------------------------------------ */

  async guard(f) {
    try {
      await f();
    } catch (error) {
      this.say(error);
    }
  }

  say(error) {
    if (error.name === "AbortError" || this.context.signal.aborted) return;
    if (!error.status && error.name !== "Error") console.error(error);
    fill(this.trouble, failure(error));
    this.trouble.scrollIntoView({ block: "nearest" });
  }

  clear() {
    if (this.trouble.firstChild) this.trouble.replaceChildren();
  }
}
