/* One run: how it learns, what it makes, what it was told. It follows a run that trains by itself.
   Address: ?axis=log&smooth=0.6&picture=film:map&step=400 */

import { every, get, post, url } from "../api.js";
import { chart } from "../chart.js";
import { choice, slider } from "../controls.js";
import { command } from "../copy.js";
import { announce, failure, fill, h, message } from "../elements.js";
import { number } from "../format.js";
import { frames } from "../frames.js";
import { file } from "../picture.js";
import { duration, stateWords } from "./runs.js";

const AWAITED = 1.5, QUIET = 6; // seconds between questions while it trains, and while it does not
const MOST_POINTS = 6000;

export const page = {
  name: "",
  title: "Run",
  order: 10,
  of: "run",
  match: () => true,
  async render(root, context) {
    const view = new View(root, context);
    await view.refresh();
    every(AWAITED, () => view.refresh(), context.signal);
  },
};

class View {
  constructor(root, context) {
    this.context = context;
    this.seen = { generation: 0, records: 0 };
    this.charts = new Map();
    this.version = context.run.version;
    const parts = ["trouble", "head", "warnings", "curves", "learning", "figures", "pictures", "facts"];
    this.places = Object.fromEntries(parts.map((name) => [name, h("section", { class: `part part-${name}` })]));
    fill(root, Object.values(this.places));
    this.showCard();
  }

  get path() {
    return `/api/runs/${encodeURIComponent(this.context.run.id)}`;
  }

  async refresh() {
    try {
      const news = await get(`${this.path}/news`, { query: this.seen, signal: this.context.signal });
      fill(this.places.trouble);
      await this.take(news);
      return news.state.word === "training" ? AWAITED : QUIET;
    } catch (error) {
      if (!this.context.signal.aborted) fill(this.places.trouble, failure(error));
      throw error;
    }
  }

  async take(news) {
    const before = this.news;
    this.news = news;
    this.showHead();
    this.showCurves(news);
    this.seen = { generation: news.generation, records: news.records };
    if (before && before.state.word !== news.state.word) announce(`The run is ${news.state.word}`);
    if (news.version !== this.version || (before && before.state.word !== news.state.word)) {
      this.version = news.version;
      await this.context.refreshRun();
      this.showCard();
    }
    await this.showLearning(news);
  }

  // ---- the head --------------------------------------------------------------------------------------------------

  showCard() {
    this.showHead();
    this.showWarnings();
    this.showFigures();
    this.showPictures();
    this.showFacts();
  }

  showHead() {
    const { run } = this.context;
    const now = this.news ? { ...run, ...this.news } : run;
    const made = [run.model, `trained on ${run.data}`, run.is_image ? run.shape.join("×") : `${run.shape[0]} numbers`,
      run.latent_dim && `${number(run.latent_dim)} latent ${run.latent_dim === 1 ? "dimension" : "dimensions"}`, run.parameters && `${number(run.parameters)} parameters`];
    const done = [now.step !== null && `${number(now.step)} steps`, now.images !== null && `${number(now.images)} images`, now.seconds !== null && duration(now.seconds)];
    const text = JSON.stringify([made, done, now.state, run.has_report]);
    if (text === this.headText) return;
    this.headText = text;
    const trains = now.state.word === "training" && now.progress !== null;
    const left = trains && now.progress > 0.02 && now.seconds ? `about ${duration((now.seconds * (1 - now.progress)) / now.progress)} left` : "";
    fill(this.places.head,
      h("div", { class: "row ends top-aligned" },
        h("div", {}, h("h1", { text: run.name }), h("p", { class: "quiet", text: made.filter(Boolean).join(" · ") })),
        run.has_report && h("a", { class: "button", href: `${this.path}/report`, target: "_blank", rel: "noopener", text: "Report" })),
      h("div", { class: "row state-line" }, h("div", {}, stateWords({ ...now, warnings: 0 })),
        trains && h("progress", { value: now.progress, max: 1, "aria-label": "Share of the training that is done" }),
        h("span", { class: "quiet small number", text: [...done.filter(Boolean), left].filter(Boolean).join(" · ") })));
  }

  showWarnings() {
    const { run } = this.context;
    const said = run.warnings_said.map((w) => message("warn", `${w.detector}${w.when ? `, ${w.when}` : ""}`, w.text));
    const trouble = run.trouble && message("bad", "This model cannot be opened", `${run.trouble} Curves and pictures are shown all the same`);
    fill(this.places.warnings, trouble, said, run.notes.map((text) => message("", "", text)));
  }

  // ---- curves ----------------------------------------------------------------------------------------------------

  showCurves(news) {
    const anew = news.generation !== this.seen.generation;
    for (const told of news.charts) this.addPoints(told, anew);
    if (!this.grids && this.charts.size) this.buildCurves();
    if (!this.grids) return;
    for (const kept of this.charts.values()) {
      if (!kept.chart) {
        kept.chart = chart({ title: kept.told.title, unit: kept.told.unit, lines: kept.lines, ...this.look() });
        this.grids[kept.told.kind === "terms" ? "terms" : "others"].append(kept.chart.element);
      } else if (kept.changed) kept.chart.update(kept.lines);
      kept.changed = false;
    }
    this.places.curves.querySelector("details").hidden = !this.grids.others.childElementCount;
  }

  addPoints(told, anew) {
    const kept = this.charts.get(told.key) ?? { lines: [] };
    if (anew) kept.lines = [];
    for (const { name, points } of told.lines) {
      let line = kept.lines.find((l) => l.name === name);
      if (!line) kept.lines.push(line = { name, points: [], look: name === "training" ? 0 : 1, dash: name === "training" ? 0 : 1 });
      if (points.length) kept.changed = true;
      line.points.push(...points);
      if (line.points.length > MOST_POINTS) line.points = line.points.filter((_, i) => i % 2 === 0 || i === line.points.length - 1);
    }
    kept.changed ||= anew;
    kept.told = told;
    this.charts.set(told.key, kept);
  }

  look() {
    const { query } = this.context;
    const axis = query.get("axis");
    const smoothing = Number(query.get("smooth") ?? 0);
    return { log: axis === "log" ? true : axis === "linear" ? false : "auto", smoothing: smoothing > 0 && smoothing < 1 ? smoothing : 0 };
  }

  buildCurves() {
    const { query, setQuery } = this.context;
    const redraw = () => this.charts.forEach((kept) => kept.chart?.set(this.look()));
    const axis = choice({ label: "Vertical axis", value: query.get("axis") ?? "auto",
      options: [{ value: "auto", text: "as fits" }, { value: "linear", text: "linear" }, { value: "log", text: "logarithmic" }],
      onChange: (value) => { setQuery({ axis: value === "auto" ? null : value }); redraw(); } });
    const smooth = slider({ label: "Smoothing", min: 0, max: 0.98, step: 0.02, value: this.look().smoothing, neutral: 0,
      format: (v) => (v > 0 ? v.toFixed(2) : "none"), onInput: (v) => { setQuery({ smooth: v > 0 ? v.toFixed(2) : null }); redraw(); } });
    smooth.input.title = "A running mean over what was logged; the line as it was logged stays behind it";
    this.context.onQuery(() => { axis.value = this.context.query.get("axis") ?? "auto"; smooth.value = this.look().smoothing; redraw(); });
    this.grids = { terms: h("div", { class: "charts" }), others: h("div", { class: "charts" }) };
    fill(this.places.curves, h("h2", { text: "Curves" }), h("div", { class: "row curve-controls" }, axis.element, smooth.element), this.grids.terms,
      h("details", {}, h("summary", { text: "Learning rate and speed" }), this.grids.others));
  }

  // ---- pictures of the learning ----------------------------------------------------------------------------------

  async showLearning(news) {
    const trains = news.state.word === "training";
    if (trains) await this.drawNewest(news);
    const films = news.films.map((f) => ({ value: `film:${f.name}`, text: f.title, steps: f.steps, src: (step) => `${this.path}/frames/${encodeURIComponent(f.name)}/${step}` }));
    const drawn = Object.entries(news.sheets).filter(([, steps]) => steps.length).map(([name, steps]) => (
      { value: `sheet:${name}`, text: name, steps, src: (step) => `${this.path}/sheets/${name}/${step}` }));
    const kinds = [...films, ...drawn];
    if (!kinds.length) {
      if (trains && Object.keys(news.sheets).length) {
        fill(this.places.learning, h("h2", { text: "Learning, step by step" }), h("p", { class: "quiet", text: "The first sheet comes with the first checkpoint." }));
      }
      return;
    }
    if (this.frames) {
      this.frames.update(kinds);
      return;
    }
    const { query, setQuery } = this.context;
    this.frames = frames({ kinds, kind: query.get("picture"), step: query.has("step") ? Number(query.get("step")) : null,
      onMove: ({ kind, step }) => setQuery({ picture: kind, step }) });
    fill(this.places.learning, h("h2", { text: "Learning, step by step" }), this.frames.element);
  }

  /* A sheet of the newest checkpoint, drawn by the studio; a run that trains has none of its own. */
  async drawNewest(news) {
    const kinds = Object.keys(news.sheets);
    const due = kinds.filter((kind) => news.checkpoint !== null && !news.sheets[kind].includes(news.checkpoint));
    for (const kind of due) {
      try {
        const { step } = await post(`${this.path}/sheets/${kind}`, {}, { signal: this.context.signal });
        news.sheets[kind] = [...new Set([...news.sheets[kind], step])].sort((a, b) => a - b);
      } catch (error) {
        if (this.context.signal.aborted) throw error;
        delete news.sheets[kind]; // its data may have gone; the curves go on
      }
    }
  }

  // ---- what it measured, made and was told -----------------------------------------------------------------------

  showFigures() {
    const { run } = this.context;
    if (!run.metrics.length && !run.fitted.length) {
      fill(this.places.figures, run.has_weights && run.state.word !== "training" && [h("h2", { text: "Figures" }),
        h("p", { text: "It has not been measured yet. This does it:" }), command(run.commands.evaluate)]);
      return;
    }
    const row = (m) => h("tr", {}, h("th", { scope: "row" }, h("div", { text: m.name }), h("div", { class: "quiet small", text: m.meaning })),
      h("td", { class: "number" }, h("b", { text: m.text }), m.unit && ` ${m.unit}`), h("td", { class: "number quiet", text: m.interval }));
    fill(this.places.figures, h("h2", { text: "Figures" }), run.measured_on && h("p", { class: "quiet small", text: run.measured_on }),
      run.metrics.length > 0 && h("div", { class: "scroll" }, h("table", { class: "figures" }, h("thead", {}, h("tr", {}, h("th", { scope: "col", text: "what" }),
        h("th", { scope: "col", text: "value" }), h("th", { scope: "col", text: "95 % interval" }))), h("tbody", {}, run.metrics.map(row)))),
      run.fitted.length > 0 && facts("What the fit found", run.fitted));
  }

  showPictures() {
    const { run } = this.context;
    const text = JSON.stringify([run.pictures, run.version]);
    if (text === this.picturesText) return;
    this.picturesText = text;
    fill(this.places.pictures, run.pictures.length > 0 && [h("h2", { text: "Pictures" }), h("div", { class: "gallery" }, run.pictures.map((p) =>
      file({ ...p, src: url(`${this.path}/pictures/${encodeURIComponent(p.file)}`, { v: run.version }), alt: `${p.title}. ${p.caption}` })))]);
  }

  showFacts() {
    const { run } = this.context;
    const open = [...this.places.facts.querySelectorAll("details")].map((d) => d.open);
    const goOn = ["stopped", "failed"].includes(run.state.word) && run.has_weights && run.state.text.includes("resume");
    fill(this.places.facts, h("h2", { text: "How it was made" }), command(run.command, "Command that made this run"),
      goOn && [h("p", { class: "quiet small", text: "Go on with it:" }), command(run.commands.resume, "Command that goes on with this run")],
      h("div", { class: "stack folded" }, Object.entries(run.config).map(([name, rows]) => folded(`Settings: ${name}`, rows)),
        folded("Data", run.data_facts), folded("Machine and versions", run.environment)));
    [...this.places.facts.querySelectorAll("details")].forEach((d, i) => { d.open = open[i] ?? false; });
  }
}

const facts = (caption, rows) => h("table", { class: "facts" }, h("caption", { text: caption }),
  h("tbody", {}, rows.map(([name, value]) => h("tr", {}, h("th", { scope: "row", text: name }), h("td", { text: value })))));

const folded = (title, rows) => rows.length > 0 && h("details", {}, h("summary", { text: title }), facts("", rows));

