// A slider for each latent coordinate, the most important first, over how held-out examples are spread.

import { shown } from "./state.js";

const FIRST = 8, BINS = 32;

export class Sliders {
  /** change(coordinate, value) */
  constructor(box, more, { order, ranges, means, quantiles, examples }, change) {
    Object.assign(this, { box, ranges, means, quantiles, examples, rows: new Map() });
    this.change = change;
    const show = (coordinates) => { for (const i of coordinates) this.add(i); };
    show(order.slice(0, FIRST));
    const rest = order.slice(FIRST);
    more.hidden = !rest.length;
    more.textContent = `Show the other ${rest.length}`;
    more.onclick = () => {
      more.hidden = true;
      show(rest);
      this.set(this.z);
      this.rows.get(rest[0]).input.focus();
    };
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.paint());
  }

  add(i) {
    const row = document.createElement("div"), name = document.createElement("label"), out = document.createElement("output");
    const behind = document.createElement("div"), canvas = document.createElement("canvas"), input = document.createElement("input");
    const [low, high] = this.ranges[i];
    row.className = "slider";
    behind.className = "behind";
    input.id = `z${i + 1}`;
    Object.assign(input, { type: "range", min: low, max: high, step: "any" });
    name.htmlFor = out.htmlFor = input.id;
    name.textContent = `z${i + 1}`;
    canvas.setAttribute("aria-hidden", "true");
    input.oninput = () => this.change(i, Number(input.value));
    input.ondblclick = () => this.change(i, this.means[i]);
    input.onkeydown = (event) => {
      const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 }[event.key];
      if (event.key === "Delete") this.change(i, this.means[i]);
      else if (steps) this.change(i, Math.min(high, Math.max(low, this.z[i] + steps * (high - low) / 100)));
      else return;
      event.preventDefault();
    };
    behind.append(canvas, input);
    row.append(name, out, behind);
    this.box.append(row);
    this.rows.set(i, { input, out, canvas });
    this.paintOne(i);
  }

  set(z) {
    this.z = z;
    for (const [i, { input, out }] of this.rows) {
      input.value = z[i];
      out.textContent = shown(z[i]);
      input.setAttribute("aria-valuetext", out.textContent);
    }
  }

  paint() { for (const i of this.rows.keys()) this.paintOne(i); }

  paintOne(i) {
    const { canvas } = this.rows.get(i), [low, high] = this.ranges[i], style = getComputedStyle(document.documentElement);
    const width = 384, height = 60, pen = canvas.getContext("2d");
    canvas.width = width;
    canvas.height = height;
    const counts = new Array(BINS).fill(0);
    for (const { z } of this.examples) {
      const bin = Math.floor(BINS * (z[i] - low) / (high - low));
      if (bin >= 0 && bin < BINS) counts[bin]++;
    }
    const most = Math.max(1, ...counts);
    pen.fillStyle = style.getPropertyValue("--bar");
    counts.forEach((count, bin) => {
      const tall = 48 * count / most;
      pen.fillRect(bin * width / BINS + 1, 48 - tall, width / BINS - 2, tall);
    });
    pen.fillStyle = style.getPropertyValue("--quiet");
    for (const values of this.quantiles) pen.fillRect(width * (values[i] - low) / (high - low) - 1, 48, 2, 12);
  }
}
