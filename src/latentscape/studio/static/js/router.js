/* Addresses and pages. A module in js/pages/ exports one page and is found by itself:

   export const page = {
     name: "latent",        // its address: /run/ID/latent; of a page of the studio itself: /NAME
     title: "Latent",       // what the navigation calls it
     order: 20,             // its place there: 10 the run itself, 20 Latent, 30 Mix, 40 Check
     of: "run",             // "run" (needs one) or "studio"
     hidden: false,         // true: never in the navigation (Compare, which the list of runs leads to)
     match(run) { … },      // of: "run": whether the run can do it; pages that do not match are not shown anywhere
     async render(root, context) { … },   // fill root; throwing a Trouble shows its sentence instead
   };
   The page with the name "" is what /run/ID or / shows.

   context: {
     run                    // JSON of /api/runs/ID (see routes/runs.py), null on a page of the studio
     query                  // URLSearchParams of the address, as it is now
     signal                 // aborted when the page is left: hand it to get(…), addEventListener(…), every(…)
     setQuery(changes, {push})  // {name: value or null}: keep the page's state in its address; push: a step for "back"
     onQuery(f)             // f(query) when "back" or "forward" changes the query of this page
     go(href)               // to another page
     title(text)            // of the window
     refreshRun()           // ask for the run's JSON again, and put it into context.run
   }
   setQuery writes at most five times a second, since browsers allow no more; the last state is always written. */

import { get, isAbort } from "./api.js";
import { announce, failure, fill, h, loading, message } from "./elements.js";

const WRITE_MS = 200;

export class Router {
  constructor(pages, main, navigation) {
    this.pages = pages.sort((a, b) => a.order - b.order);
    this.main = main;
    this.navigation = navigation;
    this.leaving = null;
    this.path = null;
    this.listeners = [];
    this.pending = null;
    addEventListener("popstate", () => this.show(true));
    document.addEventListener("click", (event) => this.follow(event));
  }

  /* A link to the studio's own pages is followed without loading everything anew. */
  follow(event) {
    const link = event.target.closest?.("a[href]");
    if (!link || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    if (link.target || link.hasAttribute("download") || link.origin !== location.origin) return;
    if (link.pathname.startsWith("/api/") || link.pathname.startsWith("/static/") || link.getAttribute("href").startsWith("#")) return;
    event.preventDefault();
    this.go(link.href);
  }

  go(href) {
    this.flush();
    history.pushState(null, "", href);
    this.show(false);
  }

  async show(back) {
    this.flush();
    if (back && location.pathname === this.path) {
      const query = new URLSearchParams(location.search);
      if (this.context) this.context.query = query;
      this.listeners.forEach((f) => f(query));
      return;
    }
    const first = this.path === null;
    this.path = location.pathname;
    this.listeners = [];
    this.leaving?.abort();
    const leaving = this.leaving = new AbortController();
    fill(this.main, loading());
    try {
      await this.open(leaving.signal);
      if (!first && !leaving.signal.aborted) this.arrive();
    } catch (error) {
      if (leaving.signal.aborted || isAbort(error)) return;
      if (!error.status && error.name !== "Error") console.error(error);
      fill(this.main, h("h1", { text: "This page cannot be shown" }), failure(error, () => { this.path = null; this.show(false); }),
        h("p", {}, h("a", { href: "/", text: "Back to the list of runs" })));
    }
  }

  arrive() {
    scrollTo(0, 0);
    this.main.focus({ preventScroll: true });
    announce(document.title);
  }

  async open(signal) {
    const words = location.pathname.split("/").filter(Boolean).map(decodeURIComponent);
    const run = words[0] === "run" && words[1] ? await get(`/api/runs/${encodeURIComponent(words[1])}`, { signal }) : null;
    const name = (run ? words[2] : words[0]) ?? "";
    const known = this.pages.filter((p) => (p.of === "run") === Boolean(run));
    const page = words.length <= (run ? 3 : 1) ? known.find((p) => p.name === name) : null;
    this.navigate(run, page);
    if (signal.aborted) return;
    if (!page || (run && !page.match(run))) {
      document.title = "Not there · latentscape studio";
      fill(this.main, h("h1", { text: page ? `${page.title} is not for this model` : "There is no such page" }),
        message("", "", page ? `A ${run.model} cannot do what this page is for` : "The address is mistyped, or of another version of the studio",
          h("a", { class: "button", href: run ? `/run/${run.id}` : "/", text: run ? `To ${run.name}` : "To the list of runs" })));
      return;
    }
    const context = this.context = this.makeContext(run, signal);
    context.title(run ? `${page.name ? `${page.title} · ` : ""}${run.name}` : page.title);
    const root = h("div", { class: `page page-${page.name || (run ? "run" : "runs")}` });
    fill(this.main, root);
    await page.render(root, context);
  }

  makeContext(run, signal) {
    const context = {
      run,
      signal,
      query: new URLSearchParams(location.search),
      setQuery: (changes, options) => this.setQuery(context, changes, options),
      onQuery: (f) => this.listeners.push(f),
      go: (href) => this.go(href),
      title: (text) => { document.title = `${text} · latentscape studio`; },
      refreshRun: async () => {
        context.run = await get(`/api/runs/${encodeURIComponent(run.id)}`, { signal });
        this.navigate(context.run, this.shown);
        return context.run;
      },
    };
    return context;
  }

  setQuery(context, changes, { push = false } = {}) {
    if (context.signal.aborted) return;
    for (const [name, value] of Object.entries(changes)) {
      if (value === null || value === undefined || value === "") context.query.delete(name);
      else context.query.set(name, value);
    }
    const text = context.query.toString();
    const href = text ? `${location.pathname}?${text}` : location.pathname;
    if (push) {
      this.flush();
      history.pushState(null, "", href);
      return;
    }
    this.waiting = href;
    this.pending ??= setTimeout(() => this.flush(), WRITE_MS);
  }

  flush() {
    clearTimeout(this.pending);
    this.pending = null;
    if (this.waiting) history.replaceState(null, "", this.waiting);
    this.waiting = null;
  }

  navigate(run, page) {
    this.shown = page;
    const link = (p, href) => h("li", {}, h("a", { href, text: p.title, "aria-current": p === page ? "page" : null }));
    const of = run ? this.pages.filter((p) => p.of === "run" && p.match(run)) : this.pages.filter((p) => p.of === "studio");
    const shown = of.filter((p) => !p.hidden || p === page);
    const first = run && h("li", { class: "of", text: run.name, title: run.name });
    fill(this.navigation, h("ul", {}, first, shown.map((p) => link(p, run ? `/run/${run.id}${p.name && `/${p.name}`}` : `/${p.name}`))));
    this.navigation.setAttribute("aria-label", run ? `Pages of ${run.name}` : "Pages");
  }
}
