/* A plane of the latent space with thousands of dots: a cross-hair that is dragged, dots to look at, a lasso.

   plane({onMove, onPick, onLasso, thumbnail, describe}) → {element, set(data), cross(x, y), mode, marks, catchNear(n), size()}
     set(data): the answer of /plane: x, y, extent, names, colour. cross(x, y): where the cross-hair stands, in the
     plane's own numbers. marks: [{x, y, text}]. mode: "cross" or "lasso".
     onMove(x, y, event): the cross-hair was dragged or moved by keys. onPick(i): a dot was chosen (double click, Enter).
     onLasso([i, …]): dots that were caught. thumbnail(i) → promise of bytes, drawn by `paint(canvas, bytes)`.
   Keys: arrows move by a fortieth (with Shift a two-hundredth), Enter chooses the nearest dot, C catches the 50 nearest. */

import { h } from "./elements.js";
import { number } from "./format.js";

/* Ten colours that differ in lightness too, for dots on white and on near black. */
const CLASSES = ["#1f77b4", "#e07b00", "#2a9d43", "#d0393b", "#8a63c9", "#9a5b4d", "#d667b0", "#7a8288", "#a3a018", "#18a5b5"];
const SCALE = ["#3b2c85", "#2b6ea6", "#1f9e89", "#74c14c", "#f4c430"];
const CELL = 14;
const NEAR = 14;

export function classColour(i) {
  return CLASSES[((i % CLASSES.length) + CLASSES.length) % CLASSES.length];
}

export function plane({ onMove, onPick, onLasso, thumbnail, paint, label }) {
  const canvas = h("canvas", { class: "map", tabindex: "0", role: "application", "aria-label": label,
    "aria-roledescription": "map with a cross-hair" });
  const tip = h("div", { class: "map-tip", hidden: true, "aria-hidden": "true" }, h("canvas", { class: "pixels" }), h("span"));
  const legend = h("div", { class: "legend" });
  const across = h("span", { class: "axis-name" });
  const upwards = h("span", { class: "axis-name up" });
  const box = h("div", { class: "map-box" }, canvas, tip, upwards, across);
  const element = h("div", { class: "plane" }, box, legend);
  const layer = document.createElement("canvas");
  const s = { data: null, extent: [-1, 1, -1, 1], cross: null, marks: [], mode: "cross", path: null, caught: null, hover: -1, cells: new Map() };
  let seen = 0;

  const ratio = () => Math.min(2, devicePixelRatio || 1);
  const width = () => canvas.clientWidth;
  const height = () => canvas.clientHeight;
  const toX = (x) => ((x - s.extent[0]) / (s.extent[1] - s.extent[0])) * width();
  const toY = (y) => height() - ((y - s.extent[2]) / (s.extent[3] - s.extent[2])) * height();
  const fromX = (px) => s.extent[0] + (px / width()) * (s.extent[1] - s.extent[0]);
  const fromY = (py) => s.extent[2] + ((height() - py) / height()) * (s.extent[3] - s.extent[2]);
  const shade = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function drawDots() {
    layer.width = canvas.width = Math.round(width() * ratio());
    layer.height = canvas.height = Math.round(height() * ratio());
    const c = layer.getContext("2d");
    c.setTransform(ratio(), 0, 0, ratio(), 0, 0);
    c.clearRect(0, 0, width(), height());
    s.cells.clear();
    if (!s.data) return;
    axes(c);
    const { x, y, colour } = s.data;
    const radius = x.length > 1500 ? 2 : 3;
    const line = s.data.names[1] === "";
    const inks = inksOf(colour, shade("--quiet"));
    c.globalAlpha = 0.72;
    s.at = new Float32Array(2 * x.length);
    for (let i = 0; i < x.length; i += 1) {
      // One coordinate alone: dots stand in a band, so that they can be told apart.
      const px = toX(x[i]);
      const py = line ? height() * (0.35 + 0.3 * ((i * 0.618) % 1)) : toY(y[i]);
      s.at[2 * i] = px;
      s.at[2 * i + 1] = py;
      const cell = `${Math.floor(px / CELL)},${Math.floor(py / CELL)}`;
      if (s.cells.has(cell)) s.cells.get(cell).push(i);
      else s.cells.set(cell, [i]);
      c.fillStyle = inks(i);
      c.beginPath();
      c.arc(px, py, radius, 0, 7);
      c.fill();
    }
    c.globalAlpha = 1;
  }

  /* A line at each zero that is in sight: where the prior's middle is, mostly. */
  function axes(c) {
    c.strokeStyle = shade("--edge");
    c.lineWidth = 1;
    c.beginPath();
    if (s.extent[0] < 0 && s.extent[1] > 0) { c.moveTo(toX(0), 0); c.lineTo(toX(0), height()); }
    if (s.extent[2] < 0 && s.extent[3] > 0) { c.moveTo(0, toY(0)); c.lineTo(width(), toY(0)); }
    c.stroke();
  }

  function draw() {
    const c = canvas.getContext("2d");
    c.setTransform(1, 0, 0, 1, 0, 0);
    c.clearRect(0, 0, canvas.width, canvas.height);
    c.drawImage(layer, 0, 0);
    c.setTransform(ratio(), 0, 0, ratio(), 0, 0);
    if (s.caught && s.at) ring(c, s.caught, shade("--ink"));
    if (s.hover >= 0 && s.at) ring(c, [s.hover], shade("--ink"), 5);
    s.marks.forEach((m) => flag(c, toX(m.x), toY(m.y), m.text));
    if (s.cross) crossHair(c, toX(s.cross[0]), s.data?.names[1] === "" ? height() / 2 : toY(s.cross[1]));
    if (s.path) lasso(c);
  }

  function ring(c, picks, ink, radius = 3) {
    c.strokeStyle = ink;
    c.lineWidth = 1;
    c.beginPath();
    for (const i of picks) {
      c.moveTo(s.at[2 * i] + radius, s.at[2 * i + 1]);
      c.arc(s.at[2 * i], s.at[2 * i + 1], radius, 0, 7);
    }
    c.stroke();
  }

  function flag(c, x, y, text) {
    c.fillStyle = shade("--page");
    c.strokeStyle = shade("--ink");
    c.lineWidth = 1.5;
    c.beginPath();
    c.arc(x, y, 9, 0, 7);
    c.fill();
    c.stroke();
    c.fillStyle = shade("--ink");
    c.font = "bold 12px system-ui, sans-serif";
    c.textAlign = "center";
    c.textBaseline = "middle";
    c.fillText(text, x, y + 0.5);
  }

  function crossHair(c, px, py) {
    // Out of sight it waits at the edge, where it can be caught again.
    const x = Math.min(width() - 1, Math.max(1, px));
    const y = Math.min(height() - 1, Math.max(1, py));
    for (const [ink, thick] of [[shade("--page"), 4], [shade("--accent"), 2]]) {
      c.strokeStyle = ink;
      c.lineWidth = thick;
      c.beginPath();
      c.moveTo(x, 0); c.lineTo(x, y - 9); c.moveTo(x, y + 9); c.lineTo(x, height());
      c.moveTo(0, y); c.lineTo(x - 9, y); c.moveTo(x + 9, y); c.lineTo(width(), y);
      c.moveTo(x + 9, y);
      c.arc(x, y, 9, 0, 7);
      c.stroke();
    }
  }

  function lasso(c) {
    c.strokeStyle = shade("--accent");
    c.fillStyle = shade("--accent");
    c.lineWidth = 2;
    c.beginPath();
    s.path.forEach(([x, y], i) => (i ? c.lineTo(x, y) : c.moveTo(x, y)));
    c.closePath();
    c.globalAlpha = 0.12;
    c.fill();
    c.globalAlpha = 1;
    c.stroke();
  }

  /* The dot nearest to a point of the canvas, at most `most` pixels away; -1 for none. Looks into the cells about it. */
  function nearest(px, py, most = NEAR) {
    if (!s.at) return -1;
    const reach = Math.ceil(most / CELL);
    const [cx, cy] = [Math.floor(px / CELL), Math.floor(py / CELL)];
    let best = -1;
    let least = most * most;
    for (let i = cx - reach; i <= cx + reach; i += 1) {
      for (let j = cy - reach; j <= cy + reach; j += 1) {
        for (const k of s.cells.get(`${i},${j}`) ?? []) {
          const d = (s.at[2 * k] - px) ** 2 + (s.at[2 * k + 1] - py) ** 2;
          if (d <= least) [best, least] = [k, d];
        }
      }
    }
    return best;
  }

  function placeOf(event) {
    const r = canvas.getBoundingClientRect();
    return [event.clientX - r.left - canvas.clientLeft, event.clientY - r.top - canvas.clientTop];
  }

  function move(px, py, event) {
    const x = fromX(Math.min(width(), Math.max(0, px)));
    const y = s.data?.names[1] === "" ? 0 : fromY(Math.min(height(), Math.max(0, py)));
    s.cross = [x, y];
    draw();
    onMove(x, y, event);
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button || !s.data) return;
    canvas.setPointerCapture(event.pointerId);
    hide();
    const [px, py] = placeOf(event);
    if (s.mode === "lasso") s.path = [[px, py]];
    else { s.dragging = true; move(px, py, event); }
  });
  canvas.addEventListener("pointermove", (event) => {
    const [px, py] = placeOf(event);
    if (s.path) { s.path.push([px, py]); draw(); } else if (s.dragging) move(px, py, event);
    else if (s.data && event.pointerType === "mouse") hover(px, py);
  });
  canvas.addEventListener("pointerup", () => {
    s.dragging = false;
    if (!s.path) return;
    const caught = s.path.length > 2 ? inside(s.path) : [];
    s.path = null;
    give(caught);
  });
  canvas.addEventListener("pointercancel", () => { s.dragging = false; s.path = null; draw(); });
  canvas.addEventListener("pointerleave", hide);
  canvas.addEventListener("dblclick", (event) => {
    const i = nearest(...placeOf(event));
    if (i >= 0) onPick(i);
  });

  function give(caught) {
    s.caught = caught.length ? caught : null;
    draw();
    onLasso(caught);
  }

  /* Dots within a closed line, by the even-odd rule. */
  function inside(path) {
    const found = [];
    for (let k = 0; k < s.data.x.length; k += 1) {
      const [px, py] = [s.at[2 * k], s.at[2 * k + 1]];
      let odd = false;
      for (let i = 0, j = path.length - 1; i < path.length; j = i, i += 1) {
        const [[ax, ay], [bx, by]] = [path[i], path[j]];
        if (ay > py !== by > py && px < ((bx - ax) * (py - ay)) / (by - ay) + ax) odd = !odd;
      }
      if (odd) found.push(k);
    }
    return found;
  }

  function near(count) {
    const [px, py] = s.cross ? [toX(s.cross[0]), toY(s.cross[1])] : [width() / 2, height() / 2];
    const far = (k) => (s.at[2 * k] - px) ** 2 + (s.at[2 * k + 1] - py) ** 2;
    return Array.from(s.data.x.keys()).sort((a, b) => far(a) - far(b)).slice(0, count);
  }

  async function hover(px, py) {
    const i = nearest(px, py);
    if (i === s.hover) return;
    s.hover = i;
    draw();
    if (i < 0) { hide(); return; }
    const turn = seen += 1;
    const data = await thumbnail(i).catch(() => null);
    if (turn !== seen || s.hover !== i || !data) return;
    paint(tip.firstChild, data);
    tip.lastChild.textContent = nameOf(i);
    tip.hidden = false;
    const left = s.at[2 * i] + 16;
    tip.style.left = `${left + tip.offsetWidth > width() ? s.at[2 * i] - 16 - tip.offsetWidth : left}px`;
    tip.style.top = `${Math.min(Math.max(0, s.at[2 * i + 1] - 20), height() - tip.offsetHeight)}px`;
  }

  function hide() {
    seen += 1;
    tip.hidden = true;
    if (s.hover < 0) return;
    s.hover = -1;
    draw();
  }

  function nameOf(i) {
    const { colour, positions } = s.data;
    const value = colour.values?.[i];
    const said = value === null || value === undefined ? "" : colour.names.length ? colour.names[value] : `${colour.name} ${number(value, 3)}`;
    return [positions ? `no. ${positions[i]}` : `draw ${i}`, said].filter(Boolean).join(" · ");
  }

  canvas.addEventListener("keydown", (event) => {
    if (!s.data || event.ctrlKey || event.metaKey || event.altKey) return;
    const step = event.shiftKey ? 1 / 200 : 1 / 40;
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    const [x, y] = s.cross ?? [0, 0];
    if (way) {
      event.preventDefault();
      const to = [x + way[0] * step * (s.extent[1] - s.extent[0]), y + way[1] * step * (s.extent[3] - s.extent[2])];
      move(toX(to[0]), toY(to[1]), event);
    } else if (event.key === "Enter") {
      event.preventDefault();
      const [i] = near(1);
      onPick(i);
    } else if (event.key === "c" || event.key === "C") {
      event.preventDefault();
      give(near(50));
    }
  });

  function drawLegend() {
    const { colour } = s.data;
    legend.replaceChildren();
    if (!colour.values) return;
    if (colour.names.length) {
      legend.append(...colour.names.slice(0, 24).map((name, i) => h("span", { class: "key" }, h("i", { style: { background: classColour(i) } }), name)));
      return;
    }
    const known = colour.values.filter((v) => v !== null);
    const [low, high] = [Math.min(...known), Math.max(...known)];
    legend.append(h("span", { class: "key", text: number(low, 3) }), h("i", { class: "scale", style: { background: `linear-gradient(90deg, ${SCALE.join(", ")})` } }),
      h("span", { class: "key", text: `${number(high, 3)} ${colour.name}` }));
  }

  const resized = new ResizeObserver(() => { if (width()) { drawDots(); draw(); } });
  resized.observe(canvas);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const repaint = () => { drawDots(); draw(); };
  dark.addEventListener("change", repaint);
  new MutationObserver(repaint).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });

  return {
    element,
    canvas,
    set(data) {
      s.data = data;
      s.extent = data.extent.slice();
      s.caught = null;
      across.textContent = data.names[0] && `${data.names[0]} →`;
      upwards.textContent = data.names[1] && `${data.names[1]} →`;
      drawDots();
      drawLegend();
      draw();
    },
    cross(x, y) { s.cross = [x, y]; draw(); },
    set marks(list) { s.marks = list; draw(); },
    set mode(mode) { s.mode = mode; canvas.classList.toggle("lasso", mode === "lasso"); },
    catchNear(n) { if (s.data) give(near(n)); },
    release() { s.caught = null; draw(); },
  };
}

/* A function from a dot's number to its colour. */
function inksOf(colour, unknown) {
  const { values, names } = colour;
  if (!values) return () => CLASSES[0];
  if (names.length) return (i) => (values[i] === null ? unknown : classColour(values[i]));
  const known = values.filter((v) => v !== null);
  const [low, high] = [Math.min(...known), Math.max(...known)];
  return (i) => {
    if (values[i] === null) return unknown;
    const t = (high > low ? (values[i] - low) / (high - low) : 0.5) * (SCALE.length - 1);
    return SCALE[Math.round(t)];
  };
}
