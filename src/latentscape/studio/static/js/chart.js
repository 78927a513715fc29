/* Line charts: axes with units, linear or logarithmic, smoothing drawn over the raw line, a cross-hair for pointer and
   keyboard, and the values as a table.

   chart({title, unit, xLabel = "training step", lines, log, smoothing, dots})
     → {element, update(lines), set({log, smoothing})}
     lines: [{name, look, dash, points: [[x, y], …]}]; y null is a gap. look: 0…3 a colour, dash: 0…2, both by default by position.
     log: true, false, or "auto" (positive values over more than a factor of 50). It stays linear where a value is not positive.
     smoothing: 0…0.99, the weight of what came before in a running mean over points; 0: none. The raw line stays, pale.
   smoothed(points, weight) → the running mean, unbiased at its start. */

import { fill, h, svg } from "./elements.js";
import { exact, number } from "./format.js";

const WIDTH = 420, HEIGHT = 250, LEFT = 62, RIGHT = 12, TOP = 12, BOTTOM = 42;
const LOG_RATIO = 50, MOST_POINTS = 1500, MOST_ROWS = 400;

export function chart(settings) {
  const s = { xLabel: "training step", log: "auto", smoothing: 0, lines: [], ...settings };
  const plot = svg("svg", { class: "plot", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, tabindex: "0", role: "img" });
  const unit = h("p", { class: "unit" });
  const read = h("p", { class: "read quiet", "aria-live": "polite" });
  const keys = h("div", { class: "keys" });
  const table = h("details", {}, h("summary", { class: "small", text: "Values as a table" }));
  const element = h("figure", { class: "chart" }, h("h3", { text: s.title }), unit, plot, h("figcaption", {}, keys, read, table));
  const state = { at: null, view: null };

  const draw = () => {
    state.view = view(s);
    unit.textContent = [s.unit || "value", state.view?.isLog && "logarithmic"].filter(Boolean).join(", ");
    plot.setAttribute("aria-label", described(s));
    fill(plot, state.view ? drawing(s, state.view) : svg("text", { x: WIDTH / 2, y: HEIGHT / 2, "text-anchor": "middle" }, "nothing yet"));
    fill(keys, s.lines.map((line, i) => key(line, i)));
    if (state.at !== null) point(state.at, false);
    if (table.open) tabulate(table, s);
  };

  /* The cross-hair at the point of the first line that is nearest to a step. */
  function point(step, speak) {
    plot.querySelector(".over")?.remove();
    if (!state.view || step === null) return;
    const found = s.lines.map((line) => nearest(line.points, step));
    const x = found.find(Boolean)?.[0];
    if (x === undefined) return;
    state.at = x;
    const { xAt, yAt } = state.view;
    const inside = (y) => y !== null && Number.isFinite(yAt(y));
    plot.append(svg("g", { class: "over" },
      svg("line", { class: "cross", x1: xAt(x), x2: xAt(x), y1: TOP, y2: HEIGHT - BOTTOM }),
      s.lines.map((line, i) => found[i] && inside(found[i][1]) && svg("circle", { class: `mark ${look(line, i)}`, cx: xAt(found[i][0]), cy: yAt(found[i][1]), r: 4 }))));
    read.textContent = `${s.xLabel.replace("training ", "")} ${number(x)}: ` +
      s.lines.map((line, i) => found[i] && `${line.name} ${exact(found[i][1])}${found[i][0] === x ? "" : ` (at ${number(found[i][0])})`}`).filter(Boolean).join(" · ");
    read.setAttribute("aria-live", speak ? "polite" : "off");
  }

  const forget = () => {
    state.at = null;
    plot.querySelector(".over")?.remove();
    read.textContent = "";
  };
  plot.addEventListener("pointermove", (event) => {
    if (!state.view) return;
    const box = plot.getBoundingClientRect();
    point(state.view.stepAt(((event.clientX - box.left) / box.width) * WIDTH), false);
  });
  plot.addEventListener("pointerleave", forget);
  plot.addEventListener("blur", forget);
  plot.addEventListener("keydown", (event) => {
    const points = s.lines[0]?.points ?? [];
    const jump = Math.max(1, Math.round(points.length / 20));
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageDown: -jump, PageUp: jump, Home: -Infinity, End: Infinity }[event.key];
    if (event.key === "Escape") forget();
    if (steps === undefined || !points.length) return;
    event.preventDefault();
    const now = state.at === null ? (steps > 0 ? -1 : points.length) : indexOf(points, state.at);
    point(points[Math.min(points.length - 1, Math.max(0, now + steps))][0], true);
  });
  table.addEventListener("toggle", () => table.open && tabulate(table, s));
  draw();
  return {
    element,
    update(lines) { s.lines = lines; draw(); },
    set(changes) { Object.assign(s, changes); draw(); },
  };
}

export function smoothed(points, weight) {
  let mean = 0, left = 1;
  return points.map(([x, y]) => {
    if (y === null) return [x, null];
    mean = weight * mean + (1 - weight) * y;
    left *= weight;
    return [x, mean / (1 - left)];
  });
}

// ---- geometry ----------------------------------------------------------------------------------------------------

function view(s) {
  let low = Infinity, high = -Infinity, first = Infinity, last = -Infinity;
  for (const { points } of s.lines) {
    for (const [x, y] of points) {
      if (y === null) continue;
      low = Math.min(low, y);
      high = Math.max(high, y);
      first = Math.min(first, x);
      last = Math.max(last, x);
    }
  }
  if (low > high) return null;
  const isLog = low > 0 && (s.log === true || (s.log === "auto" && high / low > LOG_RATIO));
  if (first >= 0 && first < 0.2 * last) first = 0;
  if (first === last) [first, last] = [first - 1, last + 1];
  const y = isLog ? logAxis(low, high) : evenAxis(low, high);
  const across = WIDTH - LEFT - RIGHT;
  return { isLog, xAt: (x) => LEFT + (across * (x - first)) / (last - first), stepAt: (px) => first + ((px - LEFT) / across) * (last - first),
    yAt: y.at, yTicks: y.ticks, xTicks: ticks(first, last, 5) };
}

function evenAxis(low, high) {
  if (high - low < 1e-300) [low, high] = [low - (Math.abs(low) * 0.1 || 1), high + (Math.abs(high) * 0.1 || 1)];
  const pad = 0.05 * (high - low);
  [low, high] = [low >= 0 && low < 0.2 * high ? 0 : low - pad, high + pad];
  return { at: (v) => HEIGHT - BOTTOM - ((v - low) / (high - low)) * (HEIGHT - BOTTOM - TOP), ticks: ticks(low, high, 6) };
}

function logAxis(low, high) {
  const bottom = Math.log10(low) - 0.05, top = Math.log10(high) + 0.05;
  const factors = top - bottom < 1.2 ? [1, 2, 3, 5, 7] : top - bottom < 2.5 ? [1, 2, 5] : [1];
  const apart = Math.max(1, Math.floor((top - bottom) / 6));
  const values = [];
  for (let p = Math.floor(bottom); p <= Math.ceil(top); p += apart) values.push(...factors.map((f) => f * 10 ** p));
  const inside = values.filter((v) => Math.log10(v) >= bottom && Math.log10(v) <= top);
  return { at: (v) => HEIGHT - BOTTOM - ((Math.log10(v) - bottom) / (top - bottom)) * (HEIGHT - BOTTOM - TOP), ticks: inside.map((v) => [v, number(v, 3)]) };
}

function ticks(low, high, about) {
  const rough = (high - low) / about;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((f) => f * power).find((v) => v >= rough * 0.999) ?? 10 * power;
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k <= high / step + 1e-9; k += 1) found.push(k * step);
  const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const text = (v) => (decimals > 5 || step >= 1e6 ? number(v, 3)
    : v.toLocaleString("en", { minimumFractionDigits: decimals, maximumFractionDigits: decimals }).replace(/^-0(\.0*)?$/, "0").replace("-", "\u2212"));
  return found.map((v) => [v, text(v)]);
}

/* Of many points, the lowest and the highest of every stretch: no spike is hidden. */
function thin(points) {
  if (points.length <= MOST_POINTS) return points;
  const stretch = Math.ceil((2 * points.length) / MOST_POINTS);
  const kept = [];
  for (let i = 0; i < points.length; i += stretch) {
    const part = points.slice(i, i + stretch);
    const values = part.filter((p) => p[1] !== null);
    if (values.length < part.length) kept.push(part.find((p) => p[1] === null));
    if (!values.length) continue;
    const low = values.reduce((a, b) => (b[1] < a[1] ? b : a)), high = values.reduce((a, b) => (b[1] > a[1] ? b : a));
    kept.push(...(low[0] < high[0] ? [low, high] : low === high ? [low] : [high, low]));
  }
  return kept;
}

// ---- drawing -----------------------------------------------------------------------------------------------------

const look = (line, i) => `look-${line.look ?? i % 4}`;
const dash = (line, i) => `dash-${line.dash ?? Math.floor(i / 4) % 3}`;

function drawing(s, v) {
  const right = WIDTH - RIGHT, bottom = HEIGHT - BOTTOM;
  return [
    v.yTicks.map(([y, text]) => [svg("line", { class: "grid", x1: LEFT, x2: right, y1: v.yAt(y), y2: v.yAt(y) }),
      svg("text", { x: LEFT - 6, y: v.yAt(y) + 4, "text-anchor": "end" }, text)]),
    v.xTicks.map(([x, text]) => [svg("line", { class: "axis", x1: v.xAt(x), x2: v.xAt(x), y1: bottom, y2: bottom + 4 }),
      svg("text", { x: v.xAt(x), y: bottom + 18, "text-anchor": "middle" }, text)]),
    svg("line", { class: "axis", x1: LEFT, x2: right, y1: bottom, y2: bottom }),
    svg("text", { x: (LEFT + right) / 2, y: HEIGHT - 6, "text-anchor": "middle" }, s.xLabel),
    s.lines.map((line, i) => drawLine(line, i, s.smoothing, v)),
  ];
}

function drawLine(line, i, smoothing, v) {
  const points = thin(line.points);
  const smooth = smoothing > 0 && line.points.length > 2;
  const few = points.length <= 60 && !smooth;
  return svg("g", { class: `line ${look(line, i)} ${dash(line, i)}` },
    svg("path", { class: smooth ? "raw" : "", d: path(points, v) }),
    smooth && svg("path", { d: path(thin(smoothed(line.points, smoothing)), v) }),
    few && points.filter((p) => p[1] !== null).map(([x, y]) => svg("circle", { class: "dot", cx: v.xAt(x), cy: v.yAt(y), r: 2.4 })));
}

function path(points, { xAt, yAt }) {
  let pen = "M";
  return points.map(([x, y]) => {
    if (y === null) {
      pen = "M";
      return "";
    }
    const text = `${pen}${xAt(x).toFixed(1)} ${yAt(y).toFixed(1)}`;
    pen = "L";
    return text;
  }).join("");
}

function key(line, i) {
  const last = line.points.findLast((p) => p[1] !== null);
  return h("span", { class: `key ${look(line, i)} ${dash(line, i)}` },
    svg("svg", { viewBox: "0 0 24 8", "aria-hidden": "true" }, svg("path", { d: "M1 4H23" })),
    h("span", {}, line.name, " ", last && h("b", { text: number(last[1]) })));
}

function described(s) {
  const ends = s.lines.map((line) => {
    const last = line.points.findLast((p) => p[1] !== null);
    return last && `${line.name} ends at ${number(last[1])} at ${s.xLabel.replace("training ", "")} ${number(last[0])}`;
  });
  return `${s.title}${s.unit ? ` in ${s.unit}` : ""}. ${ends.filter(Boolean).join("; ") || "nothing yet"}. Arrow keys read the values.`;
}

function tabulate(details, s) {
  details.querySelector(".scroll")?.remove();
  const steps = [...new Set(s.lines.flatMap((line) => line.points.map((p) => p[0])))].sort((a, b) => a - b);
  const every = Math.ceil(steps.length / MOST_ROWS);
  const shown = steps.filter((_, i) => i % every === 0 || i === steps.length - 1);
  const values = s.lines.map((line) => new Map(line.points));
  details.append(h("div", { class: "scroll", tabindex: "0" },
    h("table", {}, every > 1 && h("caption", { class: "quiet", text: `every ${every}th of ${number(steps.length)} rows` }),
      h("thead", {}, h("tr", {}, h("th", { scope: "col", text: s.xLabel }), s.lines.map((line) => h("th", { scope: "col", text: line.name })))),
      h("tbody", {}, shown.map((x) => h("tr", {}, h("th", { scope: "row", class: "number", text: number(x) }),
        values.map((of) => h("td", { class: "number", text: of.has(x) ? exact(of.get(x)) : "" }))))))));
}

function indexOf(points, step) {
  let best = 0;
  for (let i = 1; i < points.length; i += 1) if (Math.abs(points[i][0] - step) <= Math.abs(points[best][0] - step)) best = i;
  return best;
}

function nearest(points, step) {
  return points.length ? points[indexOf(points, step)] : null;
}
