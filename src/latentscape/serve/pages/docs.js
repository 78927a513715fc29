// The operations of openapi.json as a page, each with a form to try it. Nothing comes from anywhere but this server.

const EXAMPLES = { sample: { n: 16, seed: 1 } };

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function typeOf(schema) {
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" or ");
  const several = schema.anyOf || schema.oneOf;
  if (several) return several.map(typeOf).filter((text) => text !== "null").join(", or ");
  if (schema.contentEncoding) return schema.contentEncoding;
  if (schema.type === "array" && schema.items) {
    const length = schema.minItems && schema.minItems === schema.maxItems ? `${schema.minItems} × ` : "list of ";
    return length + typeOf(schema.items);
  }
  return schema.type || "anything";
}

function rangeOf(schema) {
  const parts = [];
  if (schema.minimum !== undefined) parts.push(`at least ${schema.minimum}`);
  if (schema.maximum !== undefined) parts.push(`at most ${schema.maximum}`);
  if (schema.maxItems !== undefined && schema.maxItems !== schema.minItems) parts.push(`at most ${schema.maxItems}`);
  if (schema.default !== undefined && schema.default !== null) parts.push(`otherwise ${JSON.stringify(schema.default)}`);
  return parts.join("; ");
}

function fields(schema) {
  const required = new Set(schema.required || []);
  const head = element("tr", {}, ...["field", "type", "what it is"].map((text) => element("th", { scope: "col" }, text)));
  const rows = Object.entries(schema.properties || {}).map(([name, field]) => {
    const label = element("td", {}, element("code", {}, name), required.has(name) ? " (required)" : "");
    const words = [field.description, rangeOf(field)].filter(Boolean).join("; ");
    return element("tr", {}, label, element("td", {}, typeOf(field)), element("td", {}, words));
  });
  return element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows));
}

function inputExample(operation, schema) {
  if (EXAMPLES[operation.operationId]) return { ...EXAMPLES[operation.operationId], ...labelExample(schema) };
  if (schema.properties?.z) {
    const length = schema.properties.z.items.minItems;
    return { z: [Array(length).fill(0)], ...labelExample(schema) };
  }
  return null;
}

function labelExample(schema) {
  return (schema.required || []).includes("labels") ? { labels: 0 } : {};
}

async function show(place, response) {
  const kind = response.headers.get("content-type") || "";
  const status = element("p", { className: response.ok ? "" : "wrong" }, `${response.status} ${response.statusText}`);
  if (kind.startsWith("image/")) {
    const picture = element("img", { alt: "the answer, a picture", src: URL.createObjectURL(await response.blob()) });
    place.replaceChildren(status, picture);
    return;
  }
  const text = await response.text();
  const shown = text.length > 20000 ? `${text.slice(0, 20000)}… (${text.length} characters)` : text;
  place.replaceChildren(status, element("pre", { tabIndex: 0 }, shown));
}

function form(path, method, operation) {
  const content = operation.requestBody?.content || {};
  const schema = content["application/json"]?.schema;
  const answer = element("div", { className: "answer", ariaLive: "polite" });
  const parts = [];
  const send = async (options) => {
    answer.replaceChildren(element("p", {}, "…"));
    try {
      await show(answer, await fetch(`..${path}`, { method, ...options }));
    } catch {
      answer.replaceChildren(element("p", { className: "wrong" }, "The server does not answer; is it still running?"));
    }
  };
  if (schema) {
    const example = inputExample(operation, schema);
    const text = element("textarea", { id: `body-${operation.operationId}`, value: JSON.stringify(example || { x: [] }), spellcheck: false });
    parts.push(element("label", { htmlFor: text.id }, "JSON body"), text);
    const headers = { "content-type": "application/json" };
    parts.push(element("button", { onclick: () => send({ body: text.value, headers }) }, "Send"));
    if (operation.responses["200"]?.content?.["image/png"]) {
      const asPicture = { ...headers, accept: "image/png" };
      parts.push(element("button", { onclick: () => send({ body: text.value, headers: asPicture }) }, "Send for a picture"));
    }
  } else {
    parts.push(element("button", { onclick: () => send({}) }, "Send"));
  }
  if (content["image/png"]) {
    const file = element("input", { type: "file", id: `file-${operation.operationId}`, accept: Object.keys(content).filter((kind) => kind.startsWith("image/")).join() });
    file.addEventListener("change", () => {
      const [picture] = file.files;
      if (picture) send({ body: picture, headers: { "content-type": picture.type } });
    });
    parts.push(element("label", { htmlFor: file.id }, "or a picture"), file);
  }
  return element("div", {}, element("h3", {}, "Try it"), ...parts, answer);
}

function described(path, method, operation) {
  const title = element("summary", {}, element("span", { className: "method" }, method.toUpperCase()), element("code", {}, path), ` — ${operation.summary || ""}`);
  const inside = element("div", { className: "inside" }, element("p", {}, operation.description || ""));
  const schema = operation.requestBody?.content["application/json"]?.schema;
  if (schema) inside.append(element("h3", {}, "Body"), fields(schema));
  const answer = operation.responses["200"]?.content?.["application/json"]?.schema;
  if (answer?.properties) inside.append(element("h3", {}, "Answer"), fields(answer));
  inside.append(form(path, method.toUpperCase(), operation));
  return element("details", {}, title, inside);
}

async function main() {
  const place = document.getElementById("operations");
  try {
    const response = await fetch("../openapi.json");
    const api = await response.json();
    if (!response.ok) throw new Error(api.error);
    document.title = api.info.title;
    document.getElementById("title").textContent = api.info.title;
    document.getElementById("about").textContent = api.info.description;
    const all = Object.entries(api.paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, operation]) => described(path, method, operation)));
    place.replaceChildren(...all);
  } catch (error) {
    place.replaceChildren(element("p", { className: "wrong" }, `openapi.json cannot be read: ${error.message}. Load the page again.`));
  }
}

main();
