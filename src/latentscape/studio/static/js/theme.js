/* Light or dark: what the system asks for, until the switch says otherwise; kept in this browser. */

import { h } from "./elements.js";

const KEY = "latentscape-theme";
const dark = matchMedia("(prefers-color-scheme: dark)");

const kept = () => {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null; // a browser that keeps nothing
  }
};

export function themeSwitch() {
  const isDark = () => (document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";
  const button = h("button", { type: "button", class: "plain" });
  const label = () => {
    button.textContent = isDark() ? "Light" : "Dark";
    button.setAttribute("aria-label", isDark() ? "Use light colours" : "Use dark colours");
  };
  if (["light", "dark"].includes(kept())) document.documentElement.dataset.theme = kept();
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    try {
      localStorage.setItem(KEY, document.documentElement.dataset.theme);
    } catch { /* then it holds for this page */ }
    label();
  });
  dark.addEventListener("change", label);
  label();
  return button;
}
