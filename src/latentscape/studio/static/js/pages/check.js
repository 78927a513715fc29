/* Check: pictures of one's own through the model, one after the other: reconstruction, error, how far from normal.

   In the address: examples (numbers of pictures of the data), score, rate, sigma. Files stay in the browser. */

import { get, post } from "../api.js";
import { button, dropZone, select, slider, text } from "../controls.js";
import { command } from "../copy.js";
import { announce, failure, fill, h, loading, message, svg } from "../elements.js";
import { bytesOf, styles, view } from "../explore.js";
import { number } from "../format.js";

const RATES = [["0.01", "1 %"], ["0.05", "5 %"], ["0.1", "10 %"], ["0.2", "20 %"]];
const SOME = "0_1_2_3_4_5";
const MOST_FILES = 100;
const [HIGH, LEFT, RIGHT, FOOT] = [170, 8, 8, 34];

export const page = {
  name: "check",
  title: "Check",
  order: 40,
  of: "run",
  match: (run) => ["reconstruct", "discriminate", "classify"].some((a) => run.abilities.includes(a)),
  async render(root, context) {
    styles();
    const at = `/api/check/${encodeURIComponent(context.run.id)}`;
    const card = await get(`${at}/card`, { signal: context.signal });
    await new Check(root, context, at, card).begin();
  },
};

class Check {
  constructor(root, context, at, card) {
    Object.assign(this, { root, context, at, card, given: [], found: new Map(), turn: 0 });
    this.lay();
  }

  word(name, other) { return this.context.query.get(name) || other; }

  lay() {
    const { card } = this;
    this.trouble = h("div", {});
    this.charts = h("div", { class: "stack" });
    this.list = h("ol", { class: "checked" });
    this.summary = h("p", { class: "summary", role: "status" });
    this.options = h("div", { class: "row controls" });
    const out = [];
    if (card.scores.length) {
      out.push(select({ label: "Score", value: this.word("score", card.scores[0]), options: card.scores.map((s) => ({ value: s, text: s })),
        onChange: (v) => this.set({ score: v }) }).element);
      out.push(select({ label: "False alarms allowed", value: this.word("rate", "0.05"), options: RATES.map(([value, words]) => ({ value, text: words })),
        onChange: (v) => this.set({ rate: v }) }).element);
    }
    if (card.can.denoise) {
      this.sigma = slider({ label: "Add noise, standard deviation", min: 0, max: 1, step: 0.05, value: Number(this.word("sigma", 0)), neutral: 0,
        format: (v) => (v ? number(v, 2) : "none"), onChange: (v) => this.set({ sigma: v || null }) });
      out.push(this.sigma.element);
    }
    fill(this.options, out);
    this.options.hidden = !out.length;
    fill(this.root, h("h1", { text: "Check" }), this.trouble,
      h("div", { class: "columns" }, this.ways(), h("section", { "aria-label": "What is normal" }, this.charts)),
      this.options, this.summary, this.list);
  }

  ways() {
    const { card } = this;
    const out = [];
    if (card.can.upload) {
      out.push(dropZone({ label: "Choose pictures", hint: "or drop one or many here; they do not leave this machine", multiple: true,
        onFiles: (files) => this.guard(() => this.add(files.map((file) => ({ file, name: file.name })))) }).element);
    }
    if (card.examples) {
      this.number = text({ label: `No. of a ${card.split} ${card.image ? "picture" : "example"}`, type: "number" });
      Object.assign(this.number.input, { min: 0, max: card.examples - 1, step: 1 });
      const put = () => this.number.value !== "" && this.guard(() => this.addExamples([Number(this.number.value)]));
      this.number.input.addEventListener("change", put);
      out.push(h("div", { class: "row controls" }, this.number.element,
        button(`Try six ${card.split} ${card.image ? "pictures" : "examples"}`, () => this.guard(() => this.addExamples(SOME.split("_").map(Number).filter((i) => i < card.examples)))),
        button("Clear", () => this.clearAll(), { kind: "plain", label: "Remove all pictures" })));
    }
    if (card.missing) out.push(message("warn", "", `The run's data cannot be had, so nothing says what is normal: ${card.missing}`));
    return h("section", { "aria-label": "Pictures to check", class: "stack" }, out);
  }

  async begin() {
    this.context.onQuery(() => location.reload());
    await Promise.all([this.guard(() => this.drawCharts()), this.guard(() => this.addExamples((this.word("examples", "")).split("_").filter(Boolean).map(Number)))]);
    this.sayNone();
  }

  sayNone() {
    if (!this.given.length) this.summary.textContent = "Nothing is checked yet: drop pictures above, or try some of the data.";
  }

  /* ---- what is given ---------------------------------------------------------------------------------------------------- */

  async addExamples(list) {
    const fresh = list.filter((i) => Number.isInteger(i) && !this.given.some((g) => g.example === i));
    await this.add(fresh.map((example) => ({ example, name: `${this.card.split} ${example}` })));
  }

  async add(entries) {
    if (!entries.length) return;
    const room = MOST_FILES - this.given.length;
    if (entries.length > room) fill(this.trouble, message("warn", "", `At most ${MOST_FILES} pictures are checked here; for more, use latentscape detect`));
    this.given.push(...entries.slice(0, Math.max(0, room)));
    this.note();
    await this.judgeAll();
  }

  note() {
    const examples = this.given.filter((g) => g.example !== undefined).map((g) => g.example).join("_");
    this.context.setQuery({ examples: examples || null });
  }

  clearAll() {
    this.given = [];
    this.found.clear();
    this.note();
    this.list.replaceChildren();
    this.sayNone();
    this.drawMarks();
  }

  set(changes) {
    this.context.setQuery(changes);
    this.found.clear();
    this.guard(() => this.drawCharts());
    this.guard(() => this.judgeAll());
  }

  /* One request for each picture, one after the other: the first ones are there while the rest is on its way. */
  async judgeAll() {
    const turn = this.turn += 1;
    const { signal } = this.context;
    for (const entry of this.given) {
      if (this.found.has(entry)) continue;
      this.summary.textContent = `Checking ${entry.name} …`;
      const query = { score: this.word("score", ""), rate: this.word("rate", "0.05"), sigma: this.word("sigma", null), example: entry.example, name: entry.file?.name };
      let answer;
      try {
        answer = await post(`${this.at}/judge`, entry.file ?? new Blob([]), { query, signal });
      } catch (error) {
        if (!error.status) throw error;
        answer = { name: entry.name, trouble: error.message };
      }
      if (turn !== this.turn || signal.aborted) return;
      this.found.set(entry, answer);
      this.drawList();
    }
    this.sayAll();
  }

  sayAll() {
    const all = [...this.found.values()].filter((a) => !a.trouble);
    if (!all.length) return;
    const odd = all.filter((a) => a.anomalous).length;
    const said = this.card.scores.length ? `${odd} of ${all.length} lie above the threshold.` : `${all.length} checked.`;
    this.summary.textContent = said;
    announce(said);
  }

  /* ---- what is shown ------------------------------------------------------------------------------------------------------ */

  async drawCharts() {
    const { card, at } = this;
    const { signal } = this.context;
    const out = [];
    if (card.scores.length) {
      fill(this.charts, loading("Scoring held-out examples …"));
      this.normal = await get(`${at}/normal`, { query: { score: this.word("score", ""), rate: this.word("rate", "0.05") }, signal });
      out.push(this.normalBox = h("figure", { class: "picture" }));
    }
    if (card.can.discriminate && card.examples) {
      if (!out.length) fill(this.charts, loading("Asking the discriminator …"));
      this.judge ??= await get(`${at}/discriminator`, { signal });
      out.push(this.judgeBox = h("figure", { class: "picture" }));
    }
    fill(this.charts, out);
    this.drawMarks();
  }

  /* Charts are as wide as their place, so that their words have the size of all others. */
  width() { return Math.min(560, Math.max(260, this.charts.clientWidth)); }

  drawMarks() {
    const rows = this.sorted();
    if (this.normalBox && this.normal) {
      const n = this.normal;
      const marks = rows.map((a, i) => ({ value: a.score, text: String(i + 1) })).filter((m) => Number.isFinite(m.value));
      fill(this.normalBox, histogram([{ bins: n.bins }], n, marks, n.threshold, this.width()),
        h("figcaption", {}, h("h3", { text: `How normal: ${n.score}` }),
          h("p", { text: `${n.said}, ${n.unit}. The line is the threshold, ${number(n.threshold, 4)}: ${number(100 * n.rate, 3)} % of normal pictures lie above it.` })));
    }
    if (this.judgeBox && this.judge) this.drawJudge(rows);
  }

  /* A histogram for each source, below each other and over the same values, with what was asked marked in each. */
  drawJudge(rows) {
    const marks = rows.flatMap((a, i) => (a.discriminator ?? []).slice(0, 1).map((d) => ({ value: d.value, text: String(i + 1) })));
    fill(this.judgeBox, this.judge.sources.map((source) => h("div", {},
      h("p", { class: "small", text: `${source.name}: median ${number(source.median, 3)} (${source.n.toLocaleString("en")})` }),
      histogram([source], this.judge, marks, null, this.width(), 84))),
      h("figcaption", {}, h("h3", { text: "What the discriminator says" }),
        h("p", { text: `${this.judge.says[0].toUpperCase()}${this.judge.says.slice(1)}, in evaluation mode. It learned to tell its own generator from the data and nothing else, so it may take noise for real.` })));
  }

  sorted() {
    const all = this.given.map((g) => this.found.get(g)).filter(Boolean);
    return this.card.scores.length ? all.sort((a, b) => (b.score ?? -Infinity) - (a.score ?? -Infinity)) : all;
  }

  drawList() {
    fill(this.list, this.sorted().map((a, i) => this.entry(a, i)));
    this.drawMarks();
  }

  entry(answer, i) {
    if (answer.trouble) return h("li", {}, h("h3", { text: answer.name }), message("bad", "", answer.trouble));
    const shape = this.card.shape;
    const [channels, height, width] = shape.length === 3 ? shape : [0, 0, 0];
    const shown = (title, data, of = shape) => {
      if (!data) return null;
      const v = view({ shape: of, size: 140, title, alt: `${title}: ${answer.name}` });
      v.draw(bytesOf(data));
      return h("li", {}, v.element);
    };
    const title = h("h3", {}, `${i + 1}. ${answer.name} `);
    if (answer.score !== undefined) {
      title.append(answer.anomalous ? h("b", { text: "above the threshold" }) : h("span", { class: "quiet", text: "as normal ones" }));
    }
    return h("li", {}, title,
      h("ul", { class: "strip" }, shown(answer.noisy ? "Clean" : "Given", answer.picture), shown("Noisy", answer.noisy),
        shown(answer.noisy ? "Denoised" : "Reconstruction", answer.reconstruction), channels && answer.heat ? shown("Squared error", answer.heat, [3, height, width]) : null),
      h("p", { class: "small quiet", text: this.facts(answer) }),
      answer.command ? h("details", {}, h("summary", { text: "Command" }), command(answer.command)) : null);
  }

  facts(a) {
    const out = [];
    if (a.score !== undefined) out.push(`score ${number(a.score, 4)}, p ${number(a.p, 2)}`);
    if (a.mse !== undefined) out.push(`mean squared error ${number(a.mse, 3)}`);
    if (a.largest !== undefined) out.push(`largest of a pixel ${number(a.largest, 3)} (brightest)`);
    if (a.psnr !== undefined) out.push(`PSNR ${number(a.psnr_noisy, 3)} dB noisy, ${number(a.psnr, 3)} dB denoised`);
    if (a.label) out.push(`reconstructed as ${a.label}`);
    if (a.discriminator) out.push(`the discriminator: ${a.discriminator.map((d) => `${d.label && `as ${d.label} `}${number(d.value, 3)}`).join(", ")}`);
    if (a.classes) out.push(`read as ${a.classes.map((c) => `${c.label} ${number(100 * c.value, 3)} %`).join(", ")}`);
    return `${out.join("; ")}.`.replace(/^./, (c) => c.toUpperCase());
  }

  async guard(f) {
    try {
      await f();
    } catch (error) {
      if (error.name === "AbortError" || this.context.signal.aborted) return;
      if (!error.status && error.name !== "Error") console.error(error);
      fill(this.trouble, failure(error));
    }
  }
}

/* Counts of equal bins from low to high, a threshold, and numbered marks; what lies beyond stands at the edge. */
function histogram(sources, { low, high }, marks, threshold, wide, tall = HIGH) {
  const span = high - low || 1;
  const right = Math.max(high, threshold ?? high);
  const beyond = marks.some((m) => m.value > right) ? right + 0.08 * span : right;
  const at = (v) => LEFT + ((Math.min(beyond, Math.max(low, v)) - low) / (beyond - low || 1)) * (wide - LEFT - RIGHT);
  const floor = tall - FOOT;
  const top = marks.length ? 26 : 6;
  const bars = sources.flatMap(({ bins }) => {
    const most = Math.max(1, ...bins);
    const width = (at(high) - at(low)) / bins.length;
    return bins.map((n, i) => svg("rect", { class: "bar", x: at(low) + i * width, width: Math.max(0.5, width * 0.92), y: floor - ((floor - top) * n) / most, height: ((floor - top) * n) / most }));
  });
  const said = `Histogram from ${number(low, 3)} to ${number(high, 3)}${threshold === null ? "" : `, threshold ${number(threshold, 3)}`}${marks.length ? `; pictures ${marks.map((m) => `${m.text} at ${number(m.value, 3)}`).join(", ")}` : ""}`;
  return svg("svg", { class: "bars-of", viewBox: `0 0 ${wide} ${tall}`, width: wide, height: tall, role: "img", "aria-label": said }, bars,
    svg("line", { class: "axis", x1: LEFT, x2: wide - RIGHT, y1: floor, y2: floor }),
    svg("text", { x: LEFT, y: floor + 16 }, number(low, 3)), svg("text", { x: at(high), y: floor + 16, "text-anchor": "end" }, number(high, 3)),
    threshold !== null && [svg("line", { class: "limit", x1: at(threshold), x2: at(threshold), y1: top, y2: floor }),
      svg("text", { class: "limit-said", x: at(threshold), y: floor + 30, "text-anchor": at(threshold) > wide / 2 ? "end" : "start" }, `threshold ${number(threshold, 4)}`)],
    marks.map((m, i) => [svg("path", { class: "one", d: `M${at(m.value)} ${floor} l-5 -9 h10 z` }),
      svg("text", { class: "one-said", x: at(m.value), y: 12 + 11 * (i % 2), "text-anchor": "middle" }, m.text)]));
}
