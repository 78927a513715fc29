/* What the pages Latent, Mix and Check share: examples on a canvas, latents in an address, the model's answers.

   styles(): load css/explore.css once.
   view({shape, size, alt, title}) → {element, canvas, draw(bytes), alt, zoom(size)}: one example, a picture with its pixels
     as squares, or the values of a vector as bars. bytes: what /decode answers with.
   bytesOf(text) → Uint8Array from base64.  sizeOf(shape) → bytes of one example.  parts(data, shape) → one array each.
   neat(v) → a number with six digits that count: what an address holds is exactly what is shown.
   toText(z), fromText(text, length) → latents in an address; fromText gives null for anything else.
   model(id) → requests about one run: {card, start, encode, decode, nearest, plane, …}.
   slot(name) → a name for one moving thing of this very page; see Studio.newest_with_run.
   save(blob, name): give the reader a file.  mse(a, b) → mean squared difference of two pictures' bytes, on [0, 1]. */

import { bytes, get, post, url } from "./api.js";
import { h } from "./elements.js";
import { number } from "./format.js";
import { picture } from "./picture.js";

export function styles() {
  if (document.getElementById("explore-css")) return;
  document.head.append(h("link", { id: "explore-css", rel: "stylesheet", href: "/static/css/explore.css" }));
}

/* ---- examples ---------------------------------------------------------------------------------------------------- */

export const sizeOf = (shape) => shape.reduce((a, b) => a * b, 1) * (shape.length === 3 ? 1 : 4);

export function parts(data, shape) {
  const size = sizeOf(shape);
  const all = data instanceof Uint8Array ? data : new Uint8Array(data);
  return Array.from({ length: all.length / size }, (_, i) => all.slice(i * size, (i + 1) * size));
}

export const bytesOf = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

export function mse(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i += 1) sum += (a[i] - b[i]) ** 2;
  return sum / a.length / 255 ** 2;
}

export function view({ shape, size = 320, alt = "", title = "" }) {
  const base = picture({ alt, title, size });
  let last = null;
  let shown = size;
  const draw = (data) => {
    last = data instanceof Uint8Array ? data : new Uint8Array(data);
    if (shape.length === 3) {
      const [channels, height, width] = shape;
      base.draw(last, { width, height, channels });
      base.canvas.style.width = `${wide(width, height, shown)}px`;
    } else drawVector(base.canvas, new Float32Array(last.slice().buffer), shown);
  };
  return {
    element: base.element,
    canvas: base.canvas,
    draw,
    get bytes() { return last; },
    set alt(text) { base.alt = text; },
    zoom(to) { shown = to; if (last) draw(last); },
    blob: base.blob,
  };
}

/* Pixels of a whole number of the screen's where that fits; `size` for the longer side. */
function wide(width, height, size) {
  const longer = Math.max(width, height);
  const scale = size / longer;
  return width * (scale >= 1 ? Math.max(1, Math.floor(scale)) : scale);
}

/* The values of a vector as bars about zero. */
function drawVector(canvas, values, size) {
  const shade = getComputedStyle(document.documentElement);
  const [width, height] = [Math.max(96, size), Math.max(64, Math.round(size * 0.6))];
  canvas.width = width;
  canvas.height = height;
  canvas.style.width = `${width}px`;
  const c = canvas.getContext("2d");
  c.fillStyle = shade.getPropertyValue("--page");
  c.fillRect(0, 0, width, height);
  const most = Math.max(...values.map(Math.abs), 1e-9);
  const step = width / values.length;
  c.fillStyle = shade.getPropertyValue("--accent");
  values.forEach((v, i) => {
    const y = height / 2 - (v / most) * (height / 2 - 4);
    c.fillRect(i * step, Math.min(y, height / 2), Math.max(1, step * 0.8), Math.abs(y - height / 2) || 1);
  });
  c.fillStyle = shade.getPropertyValue("--quiet");
  c.fillRect(0, height / 2, width, 1);
}

export const valuesSaid = (data, most = 6) => {
  const values = new Float32Array(data.slice().buffer);
  return Array.from(values.slice(0, most), (v) => number(v, 3)).join(", ") + (values.length > most ? ", …" : "");
};

/* ---- latents ----------------------------------------------------------------------------------------------------- */

export const neat = (v) => Number(v.toPrecision(6));

/* Longer ones than this do not go through every server's limits on addresses; then the address keeps the start alone. */
const LONGEST = 9000;

export function toText(z) {
  const text = z.map((v) => String(neat(v))).join("_");
  return text.length <= LONGEST ? text : null;
}

export function fromText(text, length) {
  const z = (text ?? "").split("_").map(Number);
  return text && z.length === length && z.every(Number.isFinite) ? z : null;
}

/* ---- the model --------------------------------------------------------------------------------------------------- */

export function model(id) {
  const at = (what) => `/api/latent/${encodeURIComponent(id)}/${what}`;
  const json = (what, body, signal) => post(at(what), body, { signal });
  return {
    card: (signal) => get(at("card"), { signal }),
    start: (query, signal) => get(at("start"), { query, signal }),
    encode: (file, label, signal) => post(at("encode"), file, { query: { label }, signal }),
    sliders: (first, count, signal) => get(at("sliders"), { query: { first, count }, signal }),
    plane: (asked, signal) => json("plane", asked, signal),
    lasso: (dots, signal) => json("lasso", { dots }, signal),
    nearest: (z, label, slot, signal) => json("nearest", { z, label, slot }, signal),
    command: async (z, label, seed, signal) => (await json("command", { z, label, seed }, signal)).command,
    direction: (name, signal) => get(at("direction"), { query: { name }, signal }),
    dot: async (index, signal) => new Uint8Array((await bytes(at(`dot/${index}`), { signal })).data),
    /* rows of latents → bytes of all their pictures. label: a number, or one for each row. */
    decode: async (rows, label, { slot = "", signal } = {}) => {
      const z = Float32Array.from(rows.flat());
      const labels = Array.isArray(label) ? label.join(",") : label;
      return new Uint8Array((await bytes(at("decode"), { query: { slot, label: labels }, body: z, signal })).data);
    },
    url: (what, query) => url(at(what), query),
  };
}

export const slot = (name) => `${name}-${Math.random().toString(36).slice(2, 10)}`;

export function save(blob, name) {
  const href = URL.createObjectURL(blob);
  const link = h("a", { href, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(href), 10000);
}
