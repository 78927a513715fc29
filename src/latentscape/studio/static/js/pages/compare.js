/* Two or more runs beside each other. Address: /compare?run=ID&run=ID&axis=log&smooth=0.6&job=3 */

import { get, post, url } from "../api.js";
import { chart } from "../chart.js";
import { button, choice, slider } from "../controls.js";
import { command } from "../copy.js";
import { failure, fill, h, message } from "../elements.js";
import { jobBox } from "../jobs.js";
import { file } from "../picture.js";
import { stateWords } from "./runs.js";

const MARKS = { best: "★ best", level: "≈ not told apart", worse: "", unjudged: "? no interval", incomparable: "≁ other scale", missing: "", "": "" };

export const page = {
  name: "compare",
  title: "Compare",
  order: 5,
  of: "studio",
  hidden: true,
  async render(root, context) {
    const ids = context.query.getAll("run");
    if (ids.length < 2) {
      fill(root, h("h1", { text: "Compare" }), message("", "", "Choose two or more runs in the list, then press Compare", h("a", { class: "button", href: "/", text: "To the list of runs" })));
      return;
    }
    const found = await get("/api/compare", { query: { run: ids }, signal: context.signal });
    context.title(`Compare ${found.runs.map((run) => run.name).join(", ")}`);
    fill(root, h("h1", { text: "Compare" }), heads(found), found.cautions.map((text) => message("warn", "", text)),
      figures(found, context), settings(found), curves(found, context), sheets(found));
  },
};

const look = (i) => ({ look: i % 4, dash: Math.floor(i / 4) % 3 });
const key = (i) => `look-${look(i).look}`;

function heads(found) {
  return h("ul", { class: "heads" }, found.runs.map((run, i) => h("li", { class: `card ${key(i)}` }, h("h3", {}, h("a", { href: `/run/${run.id}`, text: run.name })),
    h("p", { class: "quiet small", text: `${run.model} on ${run.data}` }), stateWords(run))));
}

// ---- figures -----------------------------------------------------------------------------------------------------

function figures(found, context) {
  const place = h("div", {});
  const names = found.runs.map((run) => run.name);
  const stored = () => fill(place,
    h("p", { class: "quiet small", text: "From each run's own last evaluation, with 95 % intervals in brackets. Values whose intervals overlap are not told apart; " +
      "measured anew on the same images, smaller differences can be." }),
    table(found.metrics, names), ways());
  const ways = () => h("div", { class: "stack" }, h("div", { class: "row" }, button("Measure on the same images", start)), command(found.command, "Command that compares these runs"));

  async function start() {
    try {
      await follow(await post("/api/compare/measure", { runs: found.runs.map((run) => run.id) }, { signal: context.signal }));
    } catch (error) {
      place.prepend(failure(error));
    }
  }
  async function follow(job) {
    context.setQuery({ job: job.id });
    if (job.state === "done") return measured(job);
    const box = jobBox(job, { title: "Measuring", signal: context.signal, onEnd: (now) => (now.state === "done" ? measured(now) : place.append(ways())) });
    place.lastChild.replaceWith(box);
    return undefined;
  }
  async function measured(job) {
    try {
      const said = await get(`/api/compare/measured/${job.id}`, { signal: context.signal });
      fill(place, h("p", { class: "quiet small", text: `Measured anew on ${said.about}. Told apart by: ${said.methods.join("; ")}.` }), said.cautions.map((text) => message("warn", "", text)),
        table(said.metrics, said.entries), h("div", { class: "row" },
          said.has_page && h("a", { class: "button", href: `/api/compare/measured/${job.id}/page`, target: "_blank", rel: "noopener", text: "Open as a page" }),
          button("Back to the last evaluations", async () => { context.setQuery({ job: null }); stored(); }, { kind: "plain" })), command(job.command));
    } catch (error) {
      fill(place, failure(error, start));
    }
  }

  stored();
  const job = context.query.get("job");
  if (job) get(`/api/jobs/${encodeURIComponent(job)}`, { signal: context.signal }).then((now) => now.kind === "compare" && follow(now), () => context.setQuery({ job: null }));
  return h("section", {}, h("h2", { text: "Figures" }), place);
}

function table(rows, names) {
  if (!rows.length) return message("", "", "None of them has been measured yet");
  const sense = { higher: "higher is better", lower: "lower is better" };
  const cell = (c) => h("td", { class: `number ${c.verdict === "best" ? "best" : ""}` }, h("div", {}, h("b", { text: c.text }), " ", MARKS[c.verdict] && h("span", { class: "small", text: MARKS[c.verdict] })),
    c.interval && h("div", { class: "quiet small", text: c.interval }), c.verdict === "worse" && h("div", { class: "quiet small", text: c.stands }));
  return h("div", { class: "scroll", tabindex: "0" }, h("table", { class: "compared" }, h("thead", {}, h("tr", {}, h("th", { scope: "col", text: "" }), names.map((name, i) => h("th", { scope: "col", class: key(i) }, name)))),
    h("tbody", {}, rows.map((m) => h("tr", {}, h("th", { scope: "row", title: m.meaning }, m.name, h("div", { class: "quiet small", text: [m.unit, sense[m.better]].filter(Boolean).join(", ") }),
      m.unranked && h("div", { class: "quiet small", text: m.unranked })), m.cells.map(cell))))));
}

// ---- settings, curves, sheets ------------------------------------------------------------------------------------

function settings(found) {
  const rows = (list) => list.map((s) => h("tr", {}, h("th", { scope: "row", text: s.name }), s.values.map((v) => h("td", { text: v }))));
  const head = () => h("thead", {}, h("tr", {}, h("th", { scope: "col", text: "setting" }), found.runs.map((run) => h("th", { scope: "col", text: run.name }))));
  const differing = found.settings.filter((s) => s.differs), lacking = found.settings.filter((s) => !s.differs);
  return h("section", {}, h("h2", { text: "Settings that differ" }),
    differing.length ? h("div", { class: "scroll", tabindex: "0" }, h("table", {}, head(), h("tbody", {}, rows(differing)))) : h("p", { class: "quiet", text: "None: they are seeds of one another." }),
    lacking.length > 0 && h("details", {}, h("summary", { text: "Settings that only some of their models have" }), h("div", { class: "scroll", tabindex: "0" }, h("table", {}, head(), h("tbody", {}, rows(lacking))))));
}

function curves(found, context) {
  if (!found.charts.length) return null;
  const now = () => {
    const axis = context.query.get("axis"), smooth = Number(context.query.get("smooth") ?? 0);
    return { log: axis === "log" ? true : axis === "linear" ? false : "auto", smoothing: smooth > 0 && smooth < 1 ? smooth : 0 };
  };
  const made = found.charts.map((c) => chart({ title: c.title, unit: c.unit, ...now(),
    lines: c.lines.map((line) => ({ name: found.runs[line.run].name, points: line.points, ...look(line.run) })) }));
  const redraw = () => made.forEach((c) => c.set(now()));
  const axis = choice({ label: "Vertical axis", value: context.query.get("axis") ?? "auto", options: [{ value: "auto", text: "as fits" }, { value: "linear", text: "linear" }, { value: "log", text: "logarithmic" }],
    onChange: (value) => { context.setQuery({ axis: value === "auto" ? null : value }); redraw(); } });
  const smooth = slider({ label: "Smoothing", min: 0, max: 0.98, step: 0.02, value: now().smoothing, neutral: 0, format: (v) => (v > 0 ? v.toFixed(2) : "none"),
    onInput: (v) => { context.setQuery({ smooth: v > 0 ? v.toFixed(2) : null }); redraw(); } });
  return h("section", {}, h("h2", { text: "Curves" }), h("div", { class: "row curve-controls" }, axis.element, smooth.element), h("div", { class: "charts" }, made.map((c) => c.element)));
}

function sheets(found) {
  if (!found.sheets.length) return null;
  const one = (sheet) => h("div", {}, h("h3", { text: sheet.title }), h("div", { class: "side-by-side" }, found.runs.map((run, i) => {
    const p = sheet.runs[i];
    if (!p) return h("figure", { class: "picture" }, h("figcaption", {}, h("h3", { text: run.name }), h("p", { text: "has none" })));
    return file({ ...p, command: "", title: run.name, alt: `${p.title} of ${run.name}. ${p.caption}`, src: url(`/api/runs/${run.id}/pictures/${encodeURIComponent(p.file)}`, { v: run.version }) });
  })));
  return h("section", {}, h("h2", { text: "Pictures side by side" }), h("div", { class: "stack" }, found.sheets.map(one)));
}
