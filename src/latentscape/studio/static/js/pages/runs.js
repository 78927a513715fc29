/* The list of runs: sort, filter, choose some to compare. Runs that train, and new ones, show by themselves.
   Address: ?sort=name&down=1&filter=text&metric=key&chosen=id,id */

import { every, get, post, url } from "../api.js";
import { button, select, text } from "../controls.js";
import { command } from "../copy.js";
import { announce, failure, fill, h, sentence } from "../elements.js";
import { count, number } from "../format.js";
import { jobBox } from "../jobs.js";
import { thumb } from "../picture.js";

const BEST = "";
const AWAITED = 2, QUIET = 6; // seconds between questions while something trains, and while nothing does

const COLUMNS = [
  { key: "name", text: "Run", of: (run) => run.name.toLowerCase() },
  { key: "state", text: "State", of: (run) => ["training", "failed", "stopped", "done"].indexOf(run.state.word) },
  { key: "model", text: "Model", of: (run) => run.model },
  { key: "data", text: "Data", of: (run) => run.data },
  { key: "steps", text: "Steps", of: (run) => run.step ?? -1, number: true },
  { key: "time", text: "Training time", of: (run) => run.seconds ?? -1, number: true },
];

export const page = {
  name: "",
  title: "Runs",
  order: 0,
  of: "studio",
  async render(root, context) {
    const list = new List(root, context);
    await list.refresh();
    every(AWAITED, () => list.refresh(), context.signal);
  },
};

class List {
  constructor(root, context) {
    this.root = root;
    this.context = context;
    this.rows = new Map(); // id → {said, row}
    this.chosen = new Set((context.query.get("chosen") ?? "").split(",").filter(Boolean));
    this.jobs = h("div", {});
    this.shownJob = null;
    this.trouble = h("div", {});
    this.body = h("div", {});
    fill(root, h("h1", { text: "Runs" }), this.trouble, this.jobs, this.body);
    context.onQuery(() => this.show());
  }

  async refresh() {
    try {
      const [answer, jobs] = await Promise.all([
        get("/api/runs", { signal: this.context.signal }), get("/api/jobs", { query: { kind: "demo" }, signal: this.context.signal })]);
      fill(this.trouble);
      const before = new Set(this.runs?.map((run) => run.id));
      const news = this.runs ? answer.runs.filter((run) => !before.has(run.id)) : [];
      if (news.length) announce(`New: ${news.map((run) => run.name).join(", ")}`);
      this.runs = answer.runs;
      this.home = answer.home;
      this.watch(jobs.at(-1));
      this.show();
    } catch (error) {
      if (!this.runs) throw error;
      if (!this.context.signal.aborted) fill(this.trouble, failure(error));
    }
    return this.runs.some((run) => run.state.word === "training") || this.shownJob?.state === "running" ? AWAITED : QUIET;
  }

  watch(job) {
    if (!job || job.id === this.shownJob?.id) return;
    if (job.state === "done" || (job.state !== "running" && !this.shownJob)) return;
    this.shownJob = job;
    fill(this.jobs, jobBox(job, { title: "Training the demo", signal: this.context.signal, onEnd: (now) => {
      this.shownJob = now;
      this.refresh();
    } }));
  }

  show() {
    if (!this.runs.length) {
      this.table = null;
      if (!this.body.querySelector(".empty")) fill(this.body, this.empty());
      if (this.shownJob?.state === "running") fill(this.body);
      return;
    }
    if (!this.table) this.build();
    this.order();
  }

  empty() {
    const trouble = h("div", {});
    return h("div", { class: "empty stack" },
      h("p", { text: "There is no run yet. A run is what training leaves behind: the model, its curves, its pictures. The demo trains " +
        "a small variational autoencoder on handwritten digits, which takes under a minute, and shows everything that the studio can do." }),
      h("div", { class: "row" }, button("Train the demo", async () => {
        try {
          this.watch(await post("/api/demo"));
          this.show();
        } catch (error) {
          fill(trouble, failure(error));
        }
      }, { kind: "main" })),
      trouble,
      h("p", { class: "quiet", text: `It will lie in ${this.home}. Your own pictures are trained on from a terminal; the run then appears here by itself:` }),
      command("latentscape train vae --data PATH/TO/IMAGES --size 64", "Command that trains on your pictures"));
  }

  // ---- the table -------------------------------------------------------------------------------------------------

  build() {
    const { query } = this.context;
    const filter = text({ label: "Filter", type: "search", value: query.get("filter") ?? "", placeholder: "name, model, data or state",
      onInput: (value) => { this.context.setQuery({ filter: value }); this.order(); } });
    this.metric = select({ label: "Measured", options: this.metricOptions(), value: query.get("metric") ?? BEST,
      onChange: (value) => { this.context.setQuery({ metric: value }); this.rows.clear(); this.order(); } });
    this.compare = h("a", { class: "button main", text: "Compare" });
    this.compare.addEventListener("click", (event) => this.compare.getAttribute("aria-disabled") && event.preventDefault());
    this.said = h("p", { class: "quiet small", role: "status" });
    this.headings = COLUMNS.map((column) => ({ column, th: h("th", { scope: "col" }, this.sorter(column)) }));
    this.metricHeading = { column: { key: "metric", text: "Measured", of: (run) => this.measured(run)?.value ?? -Infinity, number: true } };
    this.metricHeading.th = h("th", { scope: "col" }, this.sorter(this.metricHeading.column));
    const unseen = (words) => h("th", { scope: "col" }, h("span", { class: "unseen", text: words }));
    this.tbody = h("tbody", {});
    this.table = h("table", { class: "runs" },
      h("thead", {}, h("tr", {}, unseen("Compare"), unseen("Sheet"), this.headings.map((x) => x.th), this.metricHeading.th)), this.tbody);
    fill(this.body, h("div", { class: "row ends list-controls" }, h("div", { class: "row" }, filter.element, this.metric.element), this.compare),
      this.said, h("div", { class: "scroll", tabindex: "-1" }, this.table));
  }

  metricOptions() {
    const known = new Map(this.runs.flatMap((run) => run.metrics.filter((m) => m.value !== null).map((m) => [m.key, m.name])));
    return [{ value: BEST, text: "what says most of each" }, ...[...known].map(([value, name]) => ({ value, text: name }))];
  }

  measured(run) {
    const key = (this.context.query.get("metric") ?? BEST) || run.headline;
    return run.metrics.find((m) => m.key === key);
  }

  sorter(column) {
    return h("button", { type: "button", class: "plain sort", text: column.text, on: { click: () => {
      const { query } = this.context;
      const same = (query.get("sort") ?? "name") === column.key;
      const down = same ? query.get("down") !== "1" : Boolean(column.number);
      this.context.setQuery({ sort: column.key, down: down ? "1" : null });
      this.order();
      announce(`Sorted by ${column.text}, ${down ? "falling" : "rising"}`);
    } } });
  }

  order() {
    const { query } = this.context;
    const sort = query.get("sort") ?? "name", down = query.get("down") === "1";
    const headings = [...this.headings, this.metricHeading];
    const column = (headings.find((x) => x.column.key === sort) ?? headings[0]).column;
    for (const { column: c, th } of headings) {
      if (c === column) th.setAttribute("aria-sort", down ? "descending" : "ascending");
      else th.removeAttribute("aria-sort");
    }
    const words = (query.get("filter") ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    const shown = this.runs.filter((run) => words.every((word) => [run.name, run.model, run.data, run.state.word].join(" ").toLowerCase().includes(word)));
    const by = (a, b) => {
      const [x, y] = [column.of(a), column.of(b)];
      return x < y ? -1 : x > y ? 1 : a.name.localeCompare(b.name, "en", { numeric: true });
    };
    shown.sort((a, b) => (down ? by(b, a) : by(a, b)));
    const rows = shown.map((run) => this.row(run));
    const same = rows.length === this.tbody.childElementCount && rows.every((row, i) => this.tbody.children[i] === row);
    if (!same) this.tbody.replaceChildren(...rows);
    this.said.textContent = shown.length === this.runs.length ? count(shown.length, "run", "runs")
      : `${shown.length.toLocaleString("en")} of ${count(this.runs.length, "run", "runs")}`;
    this.showChosen();
  }

  /* A run's row is made anew only when something of it has changed, so that what has the focus keeps it. */
  row(run) {
    const said = JSON.stringify(run);
    const known = this.rows.get(run.id);
    if (known?.said === said) return known.row;
    const row = this.makeRow(run);
    if (known?.row.isConnected) {
      const focused = known.row.contains(document.activeElement) ? document.activeElement.dataset.part : null;
      known.row.replaceWith(row);
      if (focused) row.querySelector(`[data-part="${focused}"]`)?.focus();
    }
    this.rows.set(run.id, { said, row });
    return row;
  }

  makeRow(run) {
    const box = h("input", { type: "checkbox", "aria-label": `Choose ${run.name} for comparison`, ".checked": this.chosen.has(run.id), data: { part: "choose" } });
    box.addEventListener("change", () => {
      if (box.checked) this.chosen.add(run.id);
      else this.chosen.delete(run.id);
      this.context.setQuery({ chosen: [...this.chosen].join(",") });
      this.showChosen();
    });
    const metric = this.measured(run);
    const href = `/run/${run.id}`;
    const cell = (label, ...inside) => h("td", { data: { label } }, inside);
    return h("tr", { class: `is-${run.state.word}` },
      h("td", { class: "choose" }, box),
      h("td", { class: "sheet" }, run.picture && h("a", { href, tabindex: "-1", "aria-hidden": "true" },
        thumb(url(`/api/runs/${run.id}/pictures/${encodeURIComponent(run.picture)}`, { v: run.version })))),
      h("th", { scope: "row" }, h("a", { href, text: run.name, data: { part: "name" } })),
      cell("State", ...stateWords(run)),
      cell("Model", run.model),
      cell("Data", run.data),
      h("td", { class: "number", data: { label: "Steps" } }, run.step === null ? "" : number(run.step)),
      h("td", { class: "number", data: { label: "Training time" } }, run.seconds === null ? "" : duration(run.seconds)),
      cell("Measured", metric && [h("span", { class: "number" }, h("b", { text: `${metric.text}${metric.unit ? ` ${metric.unit}` : ""}` })),
        h("div", { class: "quiet small", text: `${shortName(metric)}${metric.interval ? `, 95 % interval ${metric.interval}` : ""}` })]));
  }

  showChosen() {
    const known = new Set(this.runs.map((run) => run.id));
    const ids = [...this.chosen].filter((id) => known.has(id));
    this.compare.textContent = ids.length > 1 ? `Compare ${count(ids.length, "run", "runs")}` : "Compare";
    if (ids.length > 1) {
      this.compare.href = url("/compare", { run: ids });
      this.compare.removeAttribute("aria-disabled");
      this.compare.title = "";
    } else {
      this.compare.removeAttribute("href");
      this.compare.setAttribute("aria-disabled", "true");
      this.compare.title = "Choose two or more runs by the boxes before their names";
    }
  }
}

const shortName = (metric) => metric.name.match(/\(([^)]+)\)$/)?.[1] ?? metric.name;

export function stateWords(run) {
  const { word, text: why } = run.state;
  const share = word === "training" && run.progress !== null ? `${Math.round(100 * run.progress)} %, ` : "";
  const warned = run.warnings ? h("div", { class: "small warned", text: count(run.warnings, "warning", "warnings") }) : null;
  return [h("span", { class: `state state-${word}`, text: word }),
    (share || why) && h("div", { class: "quiet small", text: share + (["done", "training"].includes(word) ? why : sentence(why)) }), warned];
}

export function duration(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

