// Runs the model, away from the page, so that a pointer never waits for it. One thread: no special headers are needed.
import * as ort from "../vendor/ort.min.mjs";

const base = new URL("../", import.meta.url);
let sessions = {};

/** The WebAssembly, unpacked here: hosts that do not compress would send six times as much. */
async function wasm() {
  const answer = await fetch(new URL("vendor/ort-wasm-simd-threaded.wasm.gz", base));
  if (!answer.ok) throw new Error(`vendor/ort-wasm-simd-threaded.wasm.gz: the host answers ${answer.status}`);
  const bytes = await answer.arrayBuffer();
  const start = new Uint8Array(bytes, 0, 2);
  if (start[0] !== 0x1f || start[1] !== 0x8b) return bytes; // some hosts unpack .gz on the way
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

async function load(files) {
  ort.env.logLevel = "error";
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.proxy = false;
  ort.env.wasm.wasmBinary = await wasm();
  for (const file of files) {
    const answer = await fetch(new URL(file, base));
    if (!answer.ok) throw new Error(`${file}: the host answers ${answer.status}`);
    const content = new Uint8Array(await answer.arrayBuffer());
    sessions[file] = await ort.InferenceSession.create(content, { executionProviders: ["wasm"] });
  }
}

/** values: Float32Array of n rows; dims: of one row; y: labels, for a model that reads them. */
async function run({ file, values, dims, y }) {
  const session = sessions[file];
  const n = values.length / dims.reduce((a, b) => a * b, 1);
  const feeds = { [session.inputNames.find((name) => name !== "y")]: new ort.Tensor("float32", values, [n, ...dims]) };
  if (session.inputNames.includes("y")) feeds.y = new ort.Tensor("int64", BigInt64Array.from(y, BigInt), [n]);
  const out = await session.run(feeds);
  return out[session.outputNames[0]].data;
}

let queue = Promise.resolve();
onmessage = ({ data }) => {
  queue = queue.then(async () => {
    try {
      const out = data.load ? await load(data.load) : await run(data);
      postMessage({ id: data.id, out });
    } catch (error) {
      postMessage({ id: data.id, error: String(error.message ?? error) });
    }
  });
};
