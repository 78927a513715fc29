/* Mix: slots with pictures, and what becomes of them: a walk from A to B, A − B + C, along an attribute, other labels.

   In the address: a, b, c (e12: an example, s7: a draw, z…: numbers), do, steps, path, attribute, strength, label, t. */

import { bytes, latest, paced, post } from "../api.js";
import { button, choice, dropZone, select, slider, text } from "../controls.js";
import { command } from "../copy.js";
import { announce, failure, fill, h } from "../elements.js";
import { bytesOf, fromText, model, neat, parts, save, slot, styles, toText, view } from "../explore.js";
import { number } from "../format.js";

const TRAY = 24;
const STRENGTHS = [-3, -2, -1, 0, 1, 2, 3];
const FRAME_MS = 1600;

export const page = {
  name: "mix",
  title: "Mix",
  order: 30,
  of: "run",
  match: (run) => run.abilities.includes("decode"),
  async render(root, context) {
    styles();
    const from = model(context.run.id);
    const card = await from.card(context.signal);
    await new Mix(root, context, from, card).begin();
  },
};

class Mix {
  constructor(root, context, from, card) {
    Object.assign(this, { root, context, from, card, timer: null, frames: [], at: 0 });
    this.slot = slot("mix");
    this.slots = ["a", "b", "c"].map((name) => new Slot(this, name));
    this.active = this.slots[0];
    this.work = paced((signal) => this.doWork(signal));
    this.lay();
  }

  word(name, other) { return this.context.query.get(name) || other; }

  lay() {
    const { card, context } = this;
    const deeds = [["walk", "A to B"], ["sum", "A − B + C"], ...(card.attributes.length ? [["attribute", "Along an attribute"]] : []),
      ...(card.labels.length ? [["labels", "Other labels"]] : [])];
    const asked = this.word("do", "walk");
    this.deed = choice({ label: "What to do", value: deeds.some(([d]) => d === asked) ? asked : "walk",
      options: deeds.map(([value, words]) => ({ value, text: words })), onChange: (v) => this.set({ do: v }) });
    this.trouble = h("div", {});
    this.options = h("div", { class: "row controls" });
    this.view = view({ shape: card.shape, size: 280, alt: "What was mixed" });
    this.strip = h("ol", { class: "walk", "aria-label": "All pictures in their order" });
    this.said = h("p", { class: "small quiet" });
    this.command = command(() => this.commandText ?? "…");
    this.play = button("Play", () => this.toggle(), { kind: "main" });
    this.scrub = slider({ label: "Place", min: 0, max: 1, step: 0.01, value: 0, format: (v) => number(v, 2), onInput: (v) => {
      this.show(Math.round(v * (this.frames.length - 1)));
      this.rest(`Picture ${this.at + 1} of ${this.frames.length}`);
    } });
    this.saves = h("div", { class: "row" });
    this.tray = h("div", { class: "tray" });
    fill(this.root, h("h1", { text: "Mix" }), this.trouble,
      h("section", { "aria-label": "Slots" }, h("div", { class: "slots" }, this.slots.map((s) => s.element)), this.trayBox()),
      h("section", { "aria-label": "What becomes of them" },
        h("div", { class: "row controls mixing" }, this.deed.element), this.options,
        h("div", { class: "mixed" },
          h("div", { class: "stack" }, this.view.element, this.scrub.element, h("div", { class: "row" }, this.play)),
          h("div", { class: "stack" }, this.strip, this.said, this.saves))),
      h("section", { "aria-label": "Command" }, h("h2", { text: "Make it again" }), this.command));
    context.signal.addEventListener("abort", () => { clearTimeout(this.timer); clearTimeout(this.resting); });
  }

  /* Pictures to choose from: press one, and it goes into the slot that is marked; or drag it. */
  trayBox() {
    const { card } = this;
    const many = card.can.encode ? card.examples : TRAY;
    if (!many) return null;
    const what = card.can.encode ? `${card.split} pictures` : "draws";
    return h("details", { open: true }, h("summary", { text: `Choose from ${what}` }),
      h("p", { class: "small quiet", text: "Press one to put it into the marked slot, or drag it there." }), this.tray);
  }

  async fillTray() {
    const { card } = this;
    const count = Math.min(TRAY, card.can.encode ? card.examples : TRAY);
    for (let i = 0; i < count; i += 1) {
      const begun = await this.from.start(card.can.encode ? { example: i } : { seed: i }, this.context.signal);
      const small = view({ shape: card.shape, size: 56, alt: begun.name });
      small.draw(begun.original ? bytesOf(begun.original) : await this.from.decode([begun.z], begun.label, { signal: this.context.signal }));
      const token = `${card.can.encode ? "e" : "s"}${i}`;
      const piece = h("button", { type: "button", class: "plain", draggable: "true", "aria-label": `Put ${begun.name} into the marked slot` }, small.element);
      piece.addEventListener("dragstart", (event) => event.dataTransfer.setData("text/plain", token));
      piece.addEventListener("click", () => this.guard(() => this.active.take(token)));
      this.tray.append(piece);
    }
  }

  async begin() {
    this.context.onQuery(() => location.reload());
    const letter = this.card.can.encode && this.card.examples ? "e" : this.card.can.sample ? "s" : "z";
    const usual = letter === "z" ? ["z", "z", "z"] : [0, 1, 2].map((i) => letter + i);
    this.mark(this.slots[0]);
    await this.guard(() => Promise.all(this.slots.map((s, i) => s.take(this.word(s.name, usual[i]), true))));
    this.drawOptions();
    await this.guard(() => this.work());
    await this.guard(() => this.fillTray());
  }

  mark(slot) {
    this.active = slot;
    this.slots.forEach((s) => s.element.classList.toggle("active", s === slot));
  }

  set(changes) {
    this.context.setQuery(changes);
    this.drawOptions();
    this.changed();
  }

  /* A slot or an option is another one: mix anew. */
  changed() {
    this.stop();
    this.work().catch((error) => this.say(error));
  }

  drawOptions() {
    const { card } = this;
    const deed = this.deed.value;
    const out = [];
    if (deed === "walk") {
      out.push(choice({ label: "Path", value: this.word("path", "linear"), options: [{ value: "linear", text: "Straight" }, { value: "spherical", text: "Great circle" }],
        onChange: (v) => this.set({ path: v }) }).element);
      out.push(slider({ label: "Pictures on the way", min: 2, max: 40, step: 1, value: Number(this.word("steps", 12)), neutral: 12,
        onChange: (v) => this.set({ steps: v }) }).element);
    }
    if (deed === "attribute") {
      out.push(select({ label: "Attribute of A", value: this.word("attribute", card.attributes[0]), options: card.attributes.map((a) => ({ value: a, text: a })),
        onChange: (v) => this.set({ attribute: v }) }).element);
      out.push(slider({ label: "Strength", unit: "σ", min: -3, max: 3, step: 0.05, value: Number(this.word("strength", 2)), neutral: 0,
        onInput: (v) => { this.context.setQuery({ strength: v }); this.changed(); } }).element);
    }
    if (card.labels.length && (deed === "walk" || deed === "sum")) {
      out.push(select({ label: "Decoded as", value: this.word("label", "own"), options: [{ value: "own", text: "A's own label" }, ...card.labels.map((l, i) => ({ value: String(i), text: l }))],
        onChange: (v) => this.set({ label: v === "own" ? null : v }) }).element);
    }
    fill(this.options, out);
    this.options.hidden = !out.length;
    this.slots[1].element.hidden = deed === "attribute" || deed === "labels";
    this.slots[2].element.hidden = deed !== "sum";
  }

  labelNow() {
    if (!this.card.labels.length) return null;
    const asked = this.word("label", "own");
    return asked === "own" ? this.slots[0].label : Number(asked);
  }

  /* ---- mixing ---------------------------------------------------------------------------------------------------------- */

  async doWork(signal) {
    if (this.slots.some((s) => !s.z)) return;
    const deed = this.deed.value;
    const made = await this[{ walk: "walk", sum: "sum", attribute: "attribute", labels: "labels" }[deed]](signal);
    const shots = parts(await this.from.decode(made.rows, made.labels.length === 1 ? made.labels[0] : made.labels, { slot: this.slot, signal }), this.card.shape);
    this.frames = shots;
    this.made = made;
    this.drawStrip(shots, made.names);
    this.show(Math.min(made.first ?? 0, shots.length - 1));
    this.said.textContent = made.said;
    const films = deed !== "sum";
    this.scrub.element.hidden = this.play.hidden = !films;
    this.drawSaves(films);
    this.clear();
    this.rest(made.said);
  }

  /* When nothing has changed for a moment: the command of the walk, or of the one picture that is shown. */
  rest(said) {
    clearTimeout(this.resting);
    this.resting = setTimeout(() => this.guard(async () => {
      const { made, at } = this;
      this.commandText = made.command ?? (await this.from.command(made.rows[at], this.labelOf(at), null, this.context.signal));
      this.command.refresh();
      announce(said);
    }), 200);
  }

  labelOf(i) { return this.made.labels.length === 1 ? this.made.labels[0] : this.made.labels[i]; }

  walkAsked() {
    const [a, b] = this.slots;
    return { ends: [a, b].map((s) => ({ z: s.z, example: s.example, file: s.file })), steps: Number(this.word("steps", 12)),
      spherical: this.word("path", "linear") === "spherical", label: this.labelNow() };
  }

  async walk(signal) {
    const asked = this.walkAsked();
    const { z, command: words } = await post(`/api/mix/${encodeURIComponent(this.context.run.id)}/walk`, asked, { signal });
    const far = Math.sqrt(asked.ends[0].z.reduce((sum, v, i) => sum + (v - asked.ends[1].z[i]) ** 2, 0));
    const note = words.includes("ends.npy") ? " Save the ends as ends.npy first." : "";
    return { rows: z, labels: [asked.label], walk: asked, command: words, names: z.map((_, i) => number(i / (z.length - 1), 2)),
      said: `From ${this.slots[0].called} to ${this.slots[1].called}, ${number(far, 3)} apart, ${asked.spherical ? "along the great circle about the origin" : "straight"}, in ${z.length} pictures.${note}` };
  }

  async sum() {
    const [a, b, c] = this.slots.map((s) => s.z);
    const row = a.map((v, i) => neat(v - b[i] + c[i]));
    return { rows: [row], labels: [this.labelNow()], names: [""], said: `${this.slots[0].called} − ${this.slots[1].called} + ${this.slots[2].called}.` };
  }

  async attribute(signal) {
    const name = this.word("attribute", this.card.attributes[0]);
    const strength = Number(this.word("strength", 2));
    this.steps ??= new Map();
    if (!this.steps.has(name)) this.steps.set(name, (await this.from.direction(name, signal)).step);
    const step = this.steps.get(name);
    const all = STRENGTHS.includes(strength) ? STRENGTHS : [...STRENGTHS, strength].sort((x, y) => x - y);
    const rows = all.map((s) => this.slots[0].z.map((v, i) => neat(v + s * step[i])));
    return { rows, labels: [this.slots[0].label], names: all.map((s) => `${number(s, 3)} σ`), first: all.indexOf(strength),
      said: `${this.slots[0].called}, ${number(strength, 3)} standard deviations along ${name}.` };
  }

  async labels() {
    const { labels } = this.card;
    return { rows: labels.map(() => this.slots[0].z), labels: labels.map((_, i) => i), names: labels, first: Number(this.word("to", this.slots[0].label ?? 0)),
      said: `The style of ${this.slots[0].called}, under each label.` };
  }

  /* ---- showing --------------------------------------------------------------------------------------------------------- */

  drawStrip(shots, names) {
    this.strip.hidden = shots.length < 2;
    if (this.strip.childElementCount !== shots.length) {
      this.small = shots.map(() => view({ shape: this.card.shape, size: shots.length > 16 ? 40 : 64 }));
      fill(this.strip, this.small.map((v) => h("li", {}, v.element, h("span", {}))));
    }
    shots.forEach((data, i) => {
      this.small[i].draw(data);
      this.small[i].alt = `Picture ${i + 1} of ${shots.length}${names[i] && `, ${names[i]}`}`;
      this.strip.children[i].lastChild.textContent = names[i];
    });
  }

  show(i) {
    if (!this.frames[i]) return;
    this.at = i;
    this.view.draw(this.frames[i]);
    this.view.alt = `${this.made.said} Picture ${i + 1} of ${this.frames.length}${this.made.names[i] ? `, ${this.made.names[i]}` : ""}`;
    this.scrub.value = this.frames.length > 1 ? i / (this.frames.length - 1) : 0;
    [...this.strip.children].forEach((li, k) => li.classList.toggle("now", k === i));
    this.view.canvas.dispatchEvent(new CustomEvent("drawn", { bubbles: true, detail: { z: this.made.rows[i] } }));
  }

  toggle() {
    if (this.timer) { this.stop(); return; }
    this.play.textContent = "Stop";
    let way = 1;
    const tick = () => {
      if (this.at + way >= this.frames.length || this.at + way < 0) way = -way;
      this.show(this.at + way);
      this.timer = setTimeout(tick, Math.max(40, FRAME_MS / this.frames.length));
    };
    tick();
  }

  stop() {
    clearTimeout(this.timer);
    this.timer = null;
    this.play.textContent = "Play";
  }

  drawSaves(films) {
    const forms = this.card.image ? [["png", "PNG"], ...(films ? [["gif", "GIF"], ["mp4", "MP4"]] : [])] : [];
    const walk = this.deed.value === "walk";
    fill(this.saves, forms.map(([form, words]) => button(`Save ${words}`, () => this.guard(() => this.saveAs(form)))),
      walk ? button("Save ends.npy", () => this.guard(() => this.saveAs("npy")), { kind: "plain", label: "Save the two ends as latents" }) : null,
      h("a", { class: "button", href: this.latentAddress(), text: "Open in Latent" }));
  }

  latentAddress() {
    const row = this.made.rows[this.made.first ?? 0];
    const label = this.labelOf(this.made.first ?? 0);
    const words = new URLSearchParams({ z: toText(row) ?? "" });
    if (label !== null && label !== undefined) words.set("label", label);
    return `/run/${encodeURIComponent(this.context.run.id)}/latent?${words}`;
  }

  async saveAs(form) {
    const { rows, labels, walk } = this.made;
    const body = walk ? { walk, form } : { rows, form, labels: labels[0] === null ? [] : labels };
    const { data, type } = await bytes(`/api/mix/${encodeURIComponent(this.context.run.id)}/file`, { body, signal: this.context.signal });
    save(new Blob([data], { type }), form === "npy" ? "ends.npy" : `mixed.${form}`);
    announce(`Saved ${form.toUpperCase()}`);
  }

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

/* One slot: a picture with its latent, from an example, a draw, a file, or numbers in the address. */
class Slot {
  constructor(mix, name) {
    Object.assign(this, { mix, name, z: null, label: null, example: null, file: "", called: "" });
    const { card } = mix;
    const letter = name.toUpperCase();
    this.view = view({ shape: card.shape, size: 112, alt: `Slot ${letter}, empty` });
    this.words = h("span", {});
    const ways = [];
    if (card.can.encode && card.examples) {
      this.input = text({ label: `${letter}: no. of a ${card.split} picture`, type: "number" });
      Object.assign(this.input.input, { min: 0, max: card.examples - 1, step: 1 });
      this.input.input.addEventListener("change", () => this.input.value !== "" && mix.guard(() => this.take(`e${this.input.value}`)));
      ways.push(this.input.element);
    }
    if (card.can.sample) {
      ways.push(button("Random", () => mix.guard(() => this.take(`s${Math.floor(Math.random() * 2 ** 31)}`)), { label: `${letter}: random draw` }));
    }
    if (card.can.encode && card.can.upload) {
      const drop = dropZone({ label: `Open a picture for ${letter}`, onFiles: ([file]) => mix.guard(() => this.open(file)) });
      drop.element.classList.add("small-drop");
      ways.push(drop.element);
    }
    this.marker = button("Choose below", () => mix.mark(this), { kind: "plain", label: `Choose below for slot ${letter}` });
    this.element = h("div", { class: "slot", role: "group", "aria-label": `Slot ${letter}` },
      h("h3", {}, letter, this.words), h("div", { class: "row top-aligned" }, this.view.element, this.marker), h("div", { class: "row" }, ways));
    this.element.addEventListener("click", () => mix.mark(this));
    this.element.addEventListener("dragover", (event) => { event.preventDefault(); this.element.classList.add("over"); });
    this.element.addEventListener("dragleave", () => this.element.classList.remove("over"));
    this.element.addEventListener("drop", (event) => {
      event.preventDefault();
      this.element.classList.remove("over");
      const token = event.dataTransfer.getData("text/plain");
      if (event.dataTransfer.files.length) mix.guard(() => this.open(event.dataTransfer.files[0]));
      else if (/^[es]\d+$/.test(token)) mix.guard(() => this.take(token));
    });
    this.newest = latest((signal, f) => f(signal));
  }

  /* e12, s7, or z and numbers; alone or followed by ~ and a label. */
  async take(token, quiet = false) {
    const found = await this.newest((signal) => this.read(token, signal));
    if (!found) return;
    this.fill({ ...found, file: "" }, found.token ?? token, quiet);
  }

  async read(token, signal) {
    const { from, card } = this.mix;
    const [whole, label] = token.split("~");
    if (whole.startsWith("e")) {
      const begun = await from.start({ example: Number(whole.slice(1)) }, signal);
      return { ...begun, example: Number(whole.slice(1)) };
    }
    if (whole.startsWith("s")) {
      const begun = await from.start({ seed: Number(whole.slice(1)) }, signal);
      return { ...begun, label: label === undefined ? begun.label : Number(label) };
    }
    const z = fromText(whole.slice(1), card.latent_dim);
    if (!z) return from.start({}, signal);
    return { z, label: label === undefined ? (card.labels.length ? 0 : null) : Number(label), name: "a latent", token };
  }

  async open(file) {
    const begun = await this.newest((signal) => this.mix.from.encode(file, null, signal));
    if (!begun) return;
    const kept = toText(begun.z);
    const under = begun.label === null ? "" : `~${begun.label}`;
    this.fill({ ...begun, name: file.name, file: file.name }, kept && `z${kept}${under}`);
  }

  fill(found, token, quiet = false) {
    Object.assign(this, { z: found.z, label: found.label, example: found.example ?? null, file: found.file, called: found.name });
    this.words.textContent = found.name;
    if (this.input) this.input.value = found.example ?? "";
    this.view.alt = `Slot ${this.name.toUpperCase()}: ${found.name}`;
    const show = found.original ? Promise.resolve(bytesOf(found.original)) : this.mix.from.decode([found.z], found.label, { signal: this.mix.context.signal });
    show.then((data) => this.view.draw(data)).catch((error) => this.mix.say(error));
    if (quiet) return;
    this.mix.context.setQuery({ [this.name]: token });
    this.mix.changed();
  }
}
