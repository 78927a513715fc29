/* Numbers and times as people read them, the same as in a run's report.

   number(value, digits = 4) → "1,797" · "0.01234" · "−86.4" · "–" for none
   exact(value) → as many digits as tell it apart
   count(n, one, many) → "1 run" · "6 runs"
   bytes(n) → "3.2 MB" */

const MINUS = "\u2212";

export function number(value, digits = 4) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : `${MINUS}∞`;
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e12 && (Number.isInteger(value) || size >= 10 ** (digits - 1))) {
    return Math.round(value).toLocaleString("en").replace("-", MINUS);
  }
  const text = size < 1e-4 ? value.toExponential(Math.max(0, digits - 2)) : String(Number(value.toPrecision(digits)));
  return text.replaceAll("-", MINUS);
}

export const exact = (value) => number(value, 7);

export const count = (n, one, many) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;

export function bytes(n) {
  const units = ["bytes", "kB", "MB", "GB"];
  let power = 0;
  while (n >= 1000 && power < units.length - 1) {
    n /= 1000;
    power += 1;
  }
  return `${power ? n.toPrecision(3) : n} ${units[power]}`;
}
