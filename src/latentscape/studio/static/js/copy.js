/* Commands that make again what a page shows.

   command(text) → element: the text in a box with a button "Copy"; text may be a function, which is asked when the
     button is pressed and whenever refresh() of the element is called.
   copy(text): put text on the clipboard, and say so to everybody. */

import { announce, h } from "./elements.js";

export function command(text, label = "Command that makes this") {
  const now = typeof text === "function" ? text : () => text;
  const code = h("code", { text: now() });
  const button = h("button", { type: "button", text: "Copy", "aria-label": `Copy: ${label}` });
  button.addEventListener("click", async () => {
    code.textContent = now();
    const worked = await copy(now());
    button.textContent = worked ? "Copied" : "Press ctrl-C";
    if (!worked) getSelection().selectAllChildren(code);
    setTimeout(() => { button.textContent = "Copy"; }, 1600);
  });
  const box = h("div", { class: "command" }, h("pre", { tabindex: "0", "aria-label": label }, code), button);
  box.refresh = () => { code.textContent = now(); };
  return box;
}

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text); // only there on https and on this machine's own addresses
    announce("Copied");
    return true;
  } catch {
    return false;
  }
}
