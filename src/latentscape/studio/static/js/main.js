/* The start: load every page's module, then show what the address says. */

import { get } from "./api.js";
import { failure, fill } from "./elements.js";
import { Router } from "./router.js";
import { themeSwitch } from "./theme.js";

const main = document.getElementById("main");
document.getElementById("theme").append(themeSwitch());

try {
  const names = await get("/api/pages");
  const modules = await Promise.all(names.map((name) => import(`./pages/${name}.js`)));
  await new Router(modules.map((m) => m.page), main, document.getElementById("navigation")).show(false);
} catch (error) {
  fill(main, failure(error, () => location.reload()));
}
