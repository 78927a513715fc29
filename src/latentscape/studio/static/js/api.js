/* Questions to the studio. What goes wrong is a Trouble, whose message is a sentence for the page.

   get(path, {query, signal}) → JSON             query: object; null and undefined are left out, arrays repeat
   post(path, body, {query, signal}) → JSON      body: an object (sent as JSON), or a Blob or File (sent as it is)
   bytes(path, {query, body, signal}) → {data: ArrayBuffer, headers: Headers, type}   a GET, or a POST where there is a body
   url(path, query) → an address, for the src of a picture
   Trouble: Error with .status (0: no answer at all). isAbort(error): whether it only says that nobody waits any more.

   latest(f) → g: a call of g aborts the one before it. f is called with (signal, …arguments); what g returns resolves
     to undefined where it was overtaken.
   paced(f) → g: for what follows a pointer: one call under way, and of those that come meanwhile only the newest waits;
     nothing queues. f and g as with latest; an overtaken call resolves to undefined.
   every(seconds, f, signal): call f now and again after each answer, while the page is to be seen; f may return other
     seconds to wait. It ends with the signal. */

export class Trouble extends Error {
  constructor(text, status = 0) {
    super(text);
    this.status = status;
  }
}

export const isAbort = (error) => error?.name === "AbortError";

export function url(path, query = {}) {
  const words = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined) words.append(name, one);
    }
  }
  const text = words.toString();
  return text ? `${path}?${text}` : path;
}

async function ask(path, { query, body, signal } = {}) {
  const options = { signal };
  if (body !== undefined) {
    const raw = body instanceof Blob || body instanceof ArrayBuffer || ArrayBuffer.isView(body);
    options.method = "POST";
    options.body = raw ? body : JSON.stringify(body);
    options.headers = { "Content-Type": raw ? body.type || "application/octet-stream" : "application/json" };
  }
  let answer;
  try {
    answer = await fetch(url(path, query), options);
  } catch (error) {
    if (isAbort(error)) throw error;
    throw new Trouble("The studio does not answer: it may have been ended in its terminal. Start it again, then try again");
  }
  if (!answer.ok) throw new Trouble(await said(answer), answer.status);
  return answer;
}

async function said(answer) {
  try {
    return (await answer.json()).error ?? `the studio answered with ${answer.status}`;
  } catch {
    return `the studio answered with ${answer.status}; reload the page`;
  }
}

export async function get(path, options = {}) {
  return (await ask(path, options)).json();
}

export async function post(path, body = {}, options = {}) {
  return (await ask(path, { ...options, body })).json();
}

export async function bytes(path, options = {}) {
  const answer = await ask(path, options);
  return { data: await answer.arrayBuffer(), headers: answer.headers, type: answer.headers.get("Content-Type") };
}

export function latest(f) {
  let before = null;
  return async (...words) => {
    before?.abort();
    const own = before = new AbortController();
    try {
      const answer = await f(own.signal, ...words);
      return own.signal.aborted ? undefined : answer;
    } catch (error) {
      if (own.signal.aborted || isAbort(error) || error.status === 409) return undefined;
      throw error;
    }
  };
}

export function paced(f) {
  let running = false;
  let waiting = null;
  async function run(words) {
    running = true;
    try {
      return await f(new AbortController().signal, ...words);
    } catch (error) {
      if (isAbort(error) || error.status === 409) return undefined;
      throw error;
    } finally {
      running = false;
      const next = waiting;
      waiting = null;
      if (next) run(next.words).then(next.resolve, next.reject);
    }
  }
  return (...words) => {
    if (!running) return run(words);
    waiting?.resolve(undefined);
    return new Promise((resolve, reject) => { waiting = { words, resolve, reject }; });
  };
}

export function every(seconds, f, signal) {
  let timer = null;
  const plan = (wait) => {
    if (!signal.aborted) timer = setTimeout(turn, 1000 * wait);
  };
  async function turn() {
    if (document.hidden) {
      plan(seconds);
      return;
    }
    let wait = seconds;
    try {
      wait = (await f()) ?? seconds;
    } catch (error) {
      if (isAbort(error)) return;
      wait = Math.max(5, seconds);
    }
    plan(wait);
  }
  signal.addEventListener("abort", () => clearTimeout(timer));
  turn();
}
