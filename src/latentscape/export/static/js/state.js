// What the page shows, as it stands in the address: copying the address brings back the same picture.

/** A value as people read it: two decimals, a minus sign, no minus before zero. */
export const shown = (value) => value.toFixed(2).replace(/^-(?=0\.00$)/, "").replace("-", "−");

const number = (value) => String(Number(value.toFixed(3)));
const list = (z) => Array.from(z, number).join(",");

export function toHash({ z, label, across, up, a, b }, conditional) {
  const parts = [`z=${list(z)}`, `plane=${across + 1},${up + 1}`];
  if (conditional) parts.push(`y=${label}`);
  if (a) parts.push(`a=${list(a)}`);
  if (b) parts.push(`b=${list(b)}`);
  return `#${parts.join("&")}`;
}

/** What of a state an address holds; what does not fit the model is left out. */
export function fromHash(hash, size, classes) {
  const given = new URLSearchParams(hash.replace(/^#/, "")), found = {};
  for (const name of ["z", "a", "b"]) {
    const values = (given.get(name) ?? "").split(",").map(Number);
    if (given.get(name) && values.length === size && values.every(Number.isFinite)) found[name] = values;
  }
  const label = Number(given.get("y") ?? NaN);
  if (Number.isInteger(label) && label >= 0 && label < classes) found.label = label;
  const plane = (given.get("plane") ?? "").split(",").map((text) => Number(text) - 1);
  if (plane.length === 2 && plane.every((i) => Number.isInteger(i) && i >= 0 && i < size)) [found.across, found.up] = plane;
  return found;
}
