/* One run. */

import { fill, h } from "../elements.js";

export const page = {
  name: "",
  title: "Run",
  order: 10,
  of: "run",
  match: () => true,
  async render(root, context) {
    fill(root, h("h1", { text: context.run.name }));
  },
};
