// The model as the page sees it: promises for latents and pictures, and pixels on a canvas.

export class Model {
  constructor(card) {
    this.card = card;
    [this.channels, this.height, this.width] = card.shape;
    this.size = card.latent_dim;
    this.files = ["decoder.onnx", "encoder.onnx", "classifier.onnx"].filter((file) => file in card.files);
    this.waiting = new Map();
    this.last = 0;
    this.worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    this.worker.onmessage = ({ data }) => {
      const { done, failed } = this.waiting.get(data.id);
      this.waiting.delete(data.id);
      if (data.error) failed(new Error(data.error));
      else done(data.out);
    };
    this.worker.onerror = (event) => {
      for (const { failed } of this.waiting.values()) failed(new Error(event.message || "this browser is too old"));
      this.waiting.clear();
    };
  }

  ask(message) {
    const id = ++this.last;
    return new Promise((done, failed) => {
      this.waiting.set(id, { done, failed });
      this.worker.postMessage({ id, ...message });
    });
  }

  load() { return this.ask({ load: this.files }); }

  has(file) { return this.files.includes(file); }

  /** Latents (arrays of L numbers) → a Float32Array of C·H·W values for each, in the model's value range. */
  async decode(latents, label) {
    const values = new Float32Array(latents.length * this.size);
    latents.forEach((z, i) => values.set(z, i * this.size));
    const x = await this.ask({ file: "decoder.onnx", values, dims: [this.size], y: latents.map(() => label) });
    const one = x.length / latents.length;
    return latents.map((_, i) => x.subarray(i * one, (i + 1) * one));
  }

  async encode(x, label) {
    return this.ask({ file: "encoder.onnx", values: x, dims: this.card.shape, y: [label] });
  }

  /** The label that the model reads off an example. */
  async classify(x) {
    const logits = await this.ask({ file: "classifier.onnx", values: x, dims: this.card.shape });
    return logits.indexOf(Math.max(...logits));
  }

  // ---- pixels ----------------------------------------------------------------------------------------------------

  get signed() { return this.card.value_range !== null && this.card.value_range[0] === -1; }

  toUnit(value) { return this.signed ? (value + 1) / 2 : value; }

  /** Values C×H×W → pixels, as a saved picture has them: clipped to [0, 1], scaled by 255 and rounded. */
  pixels(x) {
    const area = this.height * this.width, out = new ImageData(this.width, this.height);
    for (let i = 0; i < area; i++) {
      for (let c = 0; c < 3; c++) {
        const value = this.toUnit(x[(this.channels === 1 ? 0 : c) * area + i]);
        out.data[4 * i + c] = Math.round(255 * Math.min(1, Math.max(0, value)));
      }
      out.data[4 * i + 3] = 255;
    }
    return out;
  }

  /** Pixels → values C×H×W; a grey model gets the luma of Rec. 601. */
  values({ data }) {
    const area = this.height * this.width, x = new Float32Array(this.channels * area);
    for (let i = 0; i < area; i++) {
      const rgb = [data[4 * i], data[4 * i + 1], data[4 * i + 2]];
      const grey = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2];
      for (let c = 0; c < this.channels; c++) {
        const unit = (this.channels === 1 ? grey : rgb[c]) / 255;
        x[c * area + i] = this.signed ? 2 * unit - 1 : unit;
      }
    }
    return x;
  }

  draw(canvas, x) {
    canvas.width = this.width;
    canvas.height = this.height;
    canvas.getContext("2d").putImageData(this.pixels(x), 0, 0);
  }
}

/** At most one request under way, and of those that come meanwhile only the newest is made. */
export function newest(make) {
  let busy = false, next = null;
  return async function ask(...args) {
    next = args;
    if (busy) return;
    busy = true;
    try {
      while (next) {
        const now = next;
        next = null;
        await make(...now);
      }
    } finally {
      busy = false;
    }
  };
}
