// The plane: two coordinates of the latent space to drag over, with held-out examples as dots.

const LIGHT = ["#1f77b4", "#d95f02", "#2b8a3e", "#c92a2a", "#7048a8", "#8c564b", "#d6409f", "#5c6370", "#8a8500", "#0f8b9d"];
const DARK = ["#74b9f0", "#f5a35c", "#7bd38f", "#ff8f87", "#c4a3ee", "#cfa193", "#f59bd0", "#b4bcc6", "#d9d35c", "#6bd5e4"];
const NEAR = 9;

const dark = matchMedia("(prefers-color-scheme: dark)");

export const colour = (label) => (dark.matches ? DARK : LIGHT)[label % LIGHT.length];

export class Plane {
  /** handlers: move(across value, up value), pick(example), hover(example or null, x, y) */
  constructor(canvas, examples, ranges, handlers) {
    Object.assign(this, { canvas, examples, ranges, handlers });
    this.across = 0;
    this.up = 0;
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.moved(event));
    canvas.addEventListener("pointerup", (event) => this.release(event));
    canvas.addEventListener("pointercancel", () => { this.from = null; });
    canvas.addEventListener("pointerleave", () => handlers.hover(null));
    canvas.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.draw()).observe(canvas);
    dark.addEventListener("change", () => this.draw());
  }

  get flat() { return this.across === this.up; } // one coordinate: a line

  set(z, across, up) {
    Object.assign(this, { z, across, up });
    this.canvas.classList.toggle("line", this.flat);
    if (!this.frame) this.frame = requestAnimationFrame(() => { this.frame = 0; this.draw(); });
  }

  // ---- places ----------------------------------------------------------------------------------------------------

  /** Latent values → pixels of the page, from the canvas's corner. */
  place(z) {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const [a, b] = this.ranges[this.across], [c, d] = this.ranges[this.up];
    const y = this.flat ? 0.5 : 1 - (z[this.up] - c) / (d - c);
    return [width * (z[this.across] - a) / (b - a), height * y];
  }

  values(event) {
    const box = this.canvas.getBoundingClientRect();
    const [a, b] = this.ranges[this.across], [c, d] = this.ranges[this.up];
    const x = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    const y = Math.min(1, Math.max(0, (event.clientY - box.top) / box.height));
    const across = a + x * (b - a);
    return this.flat ? [across, across] : [across, d - y * (d - c)];
  }

  nearest(event) {
    const box = this.canvas.getBoundingClientRect();
    let best = null, least = NEAR ** 2;
    for (const example of this.examples) {
      const [x, y] = this.place(example.z);
      const distance = (x - event.clientX + box.left) ** 2 + (y - event.clientY + box.top) ** 2;
      if (distance < least) [best, least] = [example, distance];
    }
    return best;
  }

  // ---- pointer and keys ------------------------------------------------------------------------------------------

  press(event) {
    if (event.button) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.from = [event.clientX, event.clientY];
    this.dragged = false;
    this.handlers.move(...this.values(event));
  }

  moved(event) {
    if (!this.from) {
      const example = this.nearest(event);
      this.handlers.hover(example, ...(example ? this.place(example.z) : []));
      return;
    }
    this.dragged ||= Math.hypot(event.clientX - this.from[0], event.clientY - this.from[1]) > 3;
    if (this.dragged) this.handlers.move(...this.values(event));
  }

  release(event) {
    const example = this.from && !this.dragged && this.nearest(event);
    this.from = null;
    if (example) this.handlers.pick(example);
  }

  key(event) {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const share = event.shiftKey ? 0.1 : 0.02, axes = [this.across, this.up];
    const [x, y] = axes.map((axis, i) => this.z[axis] + share * step[i] * (this.ranges[axis][1] - this.ranges[axis][0]));
    if (this.flat) this.handlers.move(step[0] ? x : this.z[this.across] + (y - this.z[this.up]), 0, true);
    else this.handlers.move(x, y, true);
  }

  // ---- drawing ---------------------------------------------------------------------------------------------------

  draw() {
    const { canvas } = this, { clientWidth: width, clientHeight: height } = canvas;
    if (!width || !this.z) return;
    const scale = devicePixelRatio || 1, style = getComputedStyle(canvas);
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    const pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    this.axes(pen, width, height, style);
    pen.globalAlpha = 0.75;
    for (const { z, label } of this.examples) {
      const [x, y] = this.place(z);
      pen.fillStyle = label >= 0 ? colour(label) : style.getPropertyValue("--control-edge");
      pen.beginPath();
      pen.arc(x, y, 2.6, 0, 7);
      pen.fill();
    }
    pen.globalAlpha = 1;
    this.cross(pen, width, height, style);
  }

  axes(pen, width, height, style) {
    pen.strokeStyle = style.getPropertyValue("--edge");
    pen.fillStyle = style.getPropertyValue("--quiet");
    pen.font = "13px system-ui, sans-serif";
    const [x0, y0] = this.place(this.z.map(() => 0));
    pen.beginPath();
    pen.moveTo(x0, 0); pen.lineTo(x0, height);
    pen.moveTo(0, y0); pen.lineTo(width, y0);
    pen.stroke();
    const ends = (axis) => this.ranges[axis].map((value) => value.toFixed(1).replace("-", "−"));
    const [a, b] = ends(this.across);
    pen.fillText(a, 6, height - 6);
    pen.textAlign = "right";
    pen.fillText(`z${this.across + 1} → ${b}`, width - 6, height - 6);
    pen.textAlign = "left";
    if (!this.flat) pen.fillText(`z${this.up + 1} ↑ ${ends(this.up)[1]}`, 6, 16);
  }

  cross(pen, width, height, style) {
    const [x, y] = this.place(this.z);
    for (const [line, colour] of [[5, style.getPropertyValue("--page")], [2, style.getPropertyValue("--ink")]]) {
      pen.lineWidth = line;
      pen.strokeStyle = colour;
      pen.beginPath();
      pen.arc(x, y, 8, 0, 7);
      pen.moveTo(x - 14, y); pen.lineTo(x - 4, y);
      pen.moveTo(x + 4, y); pen.lineTo(x + 14, y);
      pen.moveTo(x, y - 14); pen.lineTo(x, y - 4);
      pen.moveTo(x, y + 4); pen.lineTo(x, y + 14);
      pen.stroke();
    }
  }
}
