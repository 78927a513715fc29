// Draws of the prior: the same seed gives the same latent on every machine.

function mulberry32(seed) {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** `size` standard normal numbers (Box and Muller 1958). */
export function normals(size, seed) {
  const uniform = mulberry32(seed), out = [];
  while (out.length < size) {
    const radius = Math.sqrt(-2 * Math.log(1 - uniform())), angle = 2 * Math.PI * uniform();
    out.push(radius * Math.cos(angle), radius * Math.sin(angle));
  }
  return out.slice(0, size);
}
