// The explorer: one latent z, and everything on the page shows it or changes it.
import { Model, newest } from "./model.js";
import { Plane, colour } from "./plane.js";
import { normals } from "./random.js";
import { Sliders } from "./sliders.js";
import { fromHash, shown, toHash } from "./state.js";
import { read } from "./upload.js";

const $ = (id) => document.getElementById(id);
const STEPS = 11;

const say = (text) => { $("state").textContent = text; $("state").hidden = !text; };

async function fetched(name) {
  const answer = await fetch(new URL(`../${name}`, import.meta.url));
  if (!answer.ok) throw new Error(`${name}: the host answers ${answer.status}`);
  return answer;
}

// ---- what the folder holds ---------------------------------------------------------------------------------------------

/** Examples with their latents, and draws of the prior where it is not N(0, I). */
async function readLatents(about, size) {
  const values = new Float32Array(await (await fetched("latents.bin")).arrayBuffer());
  const row = (i) => Array.from(values.subarray(i * size, (i + 1) * size));
  const examples = Array.from({ length: about.examples }, (_, i) => ({ i, z: row(i), label: about.labels[i] ?? -1 }));
  return { examples, draws: Array.from({ length: about.draws }, (_, i) => row(about.examples + i)) };
}

/** Where a coordinate may go: three standard deviations, and at least the 1 and 99 % quantiles. */
function rangesOf({ mean, std, quantiles }) {
  return mean.map((m, i) => {
    const low = Math.min(m - 3 * std[i], quantiles["0.01"][i]), high = Math.max(m + 3 * std[i], quantiles["0.99"][i]);
    return high - low > 1e-6 ? [low, high] : [m - 1, m + 1];
  });
}

function withoutData(size) {
  const fill = (value) => new Array(size).fill(value);
  return { mean: fill(0), std: fill(1), quantiles: { 0.01: fill(-2.33), 0.05: fill(-1.64), 0.5: fill(0), 0.95: fill(1.64),
    0.99: fill(2.33) }, importance: [...fill(0).keys()] };
}

// ---- the page ------------------------------------------------------------------------------------------------------------

class Explorer {
  constructor(card, about, model, { examples, draws }, sheet) {
    Object.assign(this, { card, about, model, examples, draws, sheet });
    const latents = card.latents ?? withoutData(card.latent_dim);
    this.mean = latents.mean;
    this.ranges = rangesOf(latents);
    const order = latents.importance;
    this.state = { z: [...this.mean], label: 0, across: Math.min(order[0], order[1] ?? order[0]), up: Math.max(order[0], order[1] ?? order[0]) };
    Object.assign(this.state, fromHash(location.hash, card.latent_dim, card.classes));
    this.show = newest(() => this.drawPicture());
    this.walk = newest(() => this.drawStrip());
    this.plane = new Plane($("plane"), examples, this.ranges, {
      move: (x, y, byKey) => this.moveTo(x, y, byKey),
      pick: (example) => this.goTo(example.z, example.label >= 0 ? example.label : undefined),
      hover: (example, x, y) => this.tip(example, x, y),
    });
    const quantiles = ["0.05", "0.5", "0.95"].map((q) => latents.quantiles[q]);
    this.sliders = new Sliders($("sliders"), $("more"), { order, ranges: this.ranges, means: this.mean, quantiles, examples },
      (i, value) => this.goTo(this.state.z.with?.(i, value) ?? this.state.z.map((v, j) => (j === i ? value : v))));
    this.controls(order);
    this.words();
    const seeds = [examples[0]?.z ?? this.draw(1), examples.find((e) => e.label !== examples[0]?.label)?.z ?? examples[1]?.z ?? this.draw(2)];
    this.state.a ??= seeds[0];
    this.state.b ??= seeds[1];
    addEventListener("hashchange", () => {
      if (location.hash === this.hash) return;
      Object.assign(this.state, fromHash(location.hash, card.latent_dim, card.classes));
      this.update();
      this.walk();
    });
  }

  // ---- controls --------------------------------------------------------------------------------------------------------

  controls(order) {
    const { card, state } = this;
    const choices = (select, names, values) => select.replaceChildren(...names.map((name, i) => new Option(name, values[i])));
    if (card.latent_dim > 2) {
      $("axes").hidden = false;
      for (const [id, key] of [["across", "across"], ["up", "up"]]) {
        choices($(id), order.map((i) => `z${i + 1}`), order);
        $(id).onchange = () => {
          const value = Number($(id).value), other = key === "across" ? "up" : "across";
          if (value === state[other]) state[other] = state[key];
          state[key] = value;
          this.update();
        };
      }
    }
    if (card.needs_labels) {
      $("label-part").hidden = false;
      const names = Array.from({ length: card.classes }, (_, i) => card.labels[i] ?? String(i));
      choices($("label"), names, names.map((_, i) => i));
      $("label").onchange = () => { state.label = Number($("label").value); this.update(); this.walk(); };
    }
    if (card.abilities.includes("sample") || this.draws.length) {
      $("sample-part").hidden = false;
      $("sample").onclick = () => { $("seed").value = (Number($("seed").value) + 1) % 2 ** 32; this.sample(); };
      $("seed").onchange = () => this.sample();
    }
    if (this.model.has("encoder.onnx")) {
      $("upload-part").hidden = false;
      $("upload").onchange = () => { if ($("upload").files.length) this.upload($("upload").files[0]); $("upload").value = ""; };
      this.acceptDrops();
    }
    $("reset").onclick = () => this.goTo(this.mean);
    $("download").onclick = () => this.download();
    for (const end of ["a", "b"]) $(`keep-${end}`).onclick = () => { state[end] = [...state.z]; this.update(); this.walk(); };
    $("strip").replaceChildren(...Array.from({ length: STEPS }, (_, i) => this.stop(i)));
  }

  acceptDrops() {
    addEventListener("dragover", (event) => { event.preventDefault(); $("pictures").classList.add("over"); });
    addEventListener("dragleave", () => $("pictures").classList.remove("over"));
    addEventListener("drop", (event) => {
      event.preventDefault();
      $("pictures").classList.remove("over");
      if (event.dataTransfer.files.length) this.upload(event.dataTransfer.files[0]);
    });
  }

  stop(i) {
    const item = document.createElement("li"), button = document.createElement("button"), canvas = document.createElement("canvas");
    const name = i === 0 ? "A" : i === STEPS - 1 ? "B" : `${i} tenths of the way from A to B`;
    button.type = "button";
    button.setAttribute("aria-label", `Go to ${name}`);
    button.onclick = () => this.goTo(this.between(i));
    button.append(canvas);
    item.append(button);
    return item;
  }

  words() {
    const { card } = this, [, height, width] = card.shape;
    document.title = `${card.name}: latent explorer`;
    $("title").textContent = card.name;
    $("about").textContent = `A ${card.model} with ${card.latent_dim} latent coordinates, trained on ${card.data} (${width}×${height} pixels). It runs in this browser; no picture leaves it.`;
    $("plane-title").textContent = card.latent_dim > 1 ? "Plane" : "Line";
    $("dots-help").hidden = !this.examples.length;
    if (!this.examples.length) $("sliders-help").textContent = "The one that changes the picture most comes first; ticks: 5, 50 and 95 % quantiles of the prior. Double-click, or Delete: back to the mean.";
    const labels = [...new Set(this.examples.map((e) => e.label))].filter((label) => label >= 0).sort((x, y) => x - y);
    const legend = () => $("legend").replaceChildren(...labels.map((label) => {
      const item = document.createElement("li"), dot = document.createElement("i");
      dot.style.background = colour(label);
      item.append(dot, card.labels[label] ?? String(label));
      return item;
    }));
    legend();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", legend);
    const facts = [["Made by", card.made], ["latentscape", card.latentscape], ...Object.entries(card.metrics).map(([name, value]) => [name, value.toPrecision(4)])];
    $("facts").replaceChildren(...facts.flatMap(([name, text]) => {
      const term = document.createElement("dt"), said = document.createElement("dd");
      term.textContent = name;
      said.textContent = text;
      return [term, said];
    }));
    for (const id of ["picture", "original"]) {
      const canvas = $(id), scale = Math.max(1, Math.floor((id === "picture" ? 336 : 168) / Math.max(height, width)));
      canvas.width = width;
      canvas.height = height;
      canvas.style.width = `${scale * width}px`;
    }
  }

  // ---- changes -----------------------------------------------------------------------------------------------------------

  goTo(z, label) {
    this.state.z = [...z];
    if (this.card.needs_labels && label !== undefined && label !== this.state.label) {
      this.state.label = label;
      this.walk();
    }
    this.update();
  }

  moveTo(x, y, byKey) {
    const z = [...this.state.z];
    z[this.state.across] = x;
    if (!this.plane.flat) z[this.state.up] = y;
    this.goTo(z);
    if (byKey) $("place").textContent = this.place();
  }

  place() {
    const { z, across, up } = this.state, one = (i) => `z${i + 1} = ${shown(z[i])}`;
    return across === up ? one(across) : `${one(across)}, ${one(up)}`;
  }

  /** Latent number `seed` of the prior. */
  draw(seed) {
    return this.draws.length ? this.draws[seed % this.draws.length] : normals(this.card.latent_dim, seed);
  }

  sample() {
    const seed = Math.min(2 ** 32 - 1, Math.max(0, Math.trunc(Number($("seed").value)) || 0));
    $("seed").value = seed;
    this.goTo(this.draw(seed));
  }

  update() {
    const { state } = this;
    if (this.card.latent_dim > 2) [$("across").value, $("up").value] = [state.across, state.up];
    $("label").value = state.label;
    this.plane.set(state.z, state.across, state.up);
    this.sliders.set(state.z);
    $("where").textContent = this.place();
    this.remember();
    $("picture").setAttribute("aria-busy", true);
    this.show();
  }

  /** The address follows once things stand still: browsers refuse it many times a second. */
  remember() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.hash = toHash(this.state, this.card.needs_labels);
      history.replaceState(null, "", this.hash);
    }, 250);
  }

  // ---- pictures ----------------------------------------------------------------------------------------------------------

  async drawPicture() {
    const { z, label } = this.state;
    const [x] = await this.model.decode([z], label);
    this.model.draw($("picture"), x);
    $("picture").dataset.z = z.join(","); // which latent is shown
    $("picture").setAttribute("aria-busy", z !== this.state.z || label !== this.state.label);
    this.decoded = x;
    this.compare();
  }

  between(i) {
    const t = i / (STEPS - 1), { a, b } = this.state;
    return a.map((value, j) => (1 - t) * value + t * b[j]);
  }

  async drawStrip() {
    const canvases = [...$("strip").querySelectorAll("canvas")];
    for (let i = 0; i < STEPS; i += 3) { // a few at a time: the picture under the pointer goes first
      const some = canvases.slice(i, i + 3);
      const decoded = await this.model.decode(some.map((_, j) => this.between(i + j)), this.state.label);
      some.forEach((canvas, j) => this.model.draw(canvas, decoded[j]));
    }
    const distance = Math.hypot(...this.state.a.map((value, j) => value - this.state.b[j]));
    $("strip-said").textContent = `A on the left, B on the right; their latents are ${distance.toFixed(2)} apart.`;
  }

  async upload(file) {
    say("");
    try {
      const pixels = await read(file, this.model.width, this.model.height);
      this.own = this.model.values(pixels);
      if (this.card.needs_labels && this.model.has("classifier.onnx")) this.state.label = await this.model.classify(this.own);
      this.model.draw($("original"), this.own);
      $("upload-figure").hidden = false;
      this.goTo(await this.model.encode(this.own, this.state.label));
    } catch (error) {
      say(error.message);
    }
  }

  /** How far what is shown is from the user's own picture, beside what held-out examples have. */
  compare() {
    if (!this.own || !this.decoded) return;
    let sum = 0;
    this.own.forEach((value, i) => { sum += (this.model.toUnit(value) - this.model.toUnit(this.decoded[i])) ** 2; });
    const mse = sum / this.own.length, quantiles = this.card.score?.quantiles;
    const above = quantiles?.filter((q) => q < mse).length;
    const beside = quantiles ? `, more than ${Math.min(100, above)} % of ${this.card.score.n.toLocaleString("en")} held-out examples have when reconstructed` : "";
    $("upload-said").textContent = `Yours. Mean squared error of the picture beside it: ${mse.toFixed(4)}${beside}.`;
  }

  tip(example, x, y) {
    const visible = Boolean(example && this.sheet);
    $("tip").hidden = !visible;
    if (!visible) return;
    const { thumbnail: [height, width], columns } = this.about, canvas = $("tip-picture"), scale = Math.max(1, Math.floor(84 / width));
    canvas.width = width;
    canvas.height = height;
    canvas.style.width = `${scale * width}px`;
    canvas.getContext("2d").drawImage(this.sheet, width * (example.i % columns), height * Math.floor(example.i / columns), width, height, 0, 0, width, height);
    $("tip-text").textContent = example.label >= 0 ? this.card.labels[example.label] ?? example.label : "";
    const box = $("plane").clientWidth;
    $("tip").style.left = `${Math.min(x + 12, box - scale * width - 14)}px`;
    $("tip").style.top = `${y > 130 ? y - 24 - scale * height - 22 : y + 14}px`;
  }

  download() {
    const from = $("picture"), scale = Math.max(1, Math.floor(512 / Math.max(from.width, from.height)));
    const canvas = document.createElement("canvas");
    canvas.width = scale * from.width;
    canvas.height = scale * from.height;
    const pen = canvas.getContext("2d");
    pen.imageSmoothingEnabled = false;
    pen.drawImage(from, 0, 0, canvas.width, canvas.height);
    canvas.toBlob((blob) => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(blob);
      link.download = `${this.card.name}.png`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
  }
}

async function sheetOf(about) {
  if (!about.columns) return null;
  return createImageBitmap(await (await fetched("examples.png")).blob());
}

async function start() {
  const [card, about] = await Promise.all(["card.json", "explorer.json"].map(async (name) => (await fetched(name)).json()));
  const model = new Model(card);
  const [latents, sheet] = await Promise.all([readLatents(about, card.latent_dim), sheetOf(about), model.load()]);
  const explorer = new Explorer(card, about, model, latents, sheet);
  $("explorer").hidden = false;
  say("");
  explorer.update();
  explorer.walk();
}

start().catch((error) => say(`The model cannot be run here (${error.message}); try a newer browser, or export it again.`));
