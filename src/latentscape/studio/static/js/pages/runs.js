/* The list of runs. */

import { get } from "../api.js";
import { fill, h } from "../elements.js";

export const page = {
  name: "",
  title: "Runs",
  order: 0,
  of: "studio",
  async render(root, context) {
    const { runs } = await get("/api/runs", { signal: context.signal });
    fill(root, h("h1", { text: "Runs" }), h("ul", {}, runs.map((run) => h("li", {}, h("a", { href: `/run/${run.id}`, text: run.name })))));
  },
};
