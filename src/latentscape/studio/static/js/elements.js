/* Elements without HTML in strings: text stays text, whatever a run or a file is called.

   h(tag, properties, ...children) → Element
     properties: class, text, attributes by their own names (aria-label, href, …; false and null leave one out),
       on: {click: f, …} · data: {name: value} · style: {width: "3px"} (set one by one, as the page's policy wants)
       and own properties of the element with a dot before them (".value": 3).
     children: elements, strings, numbers, arrays of these; null and false are left out.
   svg(tag, properties, ...children) → the same in SVG.
   fill(parent, ...children): replace what is in an element.
   message(kind, title, text, ...ways) → a box of kind "", "warn" or "bad" with a way out: buttons or links.
   failure(error, again): the box for an error: its sentence, and a button that tries again.
   loading(text) → what stands there until something has come.
   announce(text): said to a screen reader, once it has finished speaking.
   unique(stem) → an id that no other element has. */

const SVG = "http://www.w3.org/2000/svg";
let count = 0;

export function h(tag, properties = {}, ...children) {
  return dress(document.createElement(tag), properties, children);
}

export function svg(tag, properties = {}, ...children) {
  return dress(document.createElementNS(SVG, tag), properties, children);
}

function dress(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") element.textContent = value;
    else if (name === "on") for (const [event, f] of Object.entries(value)) element.addEventListener(event, f);
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name === "style") for (const [key, v] of Object.entries(value)) element.style.setProperty(key, v);
    else if (name.startsWith(".")) element[name.slice(1)] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  append(element, children);
  return element;
}

function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
}

export function fill(parent, ...children) {
  parent.replaceChildren();
  append(parent, children);
  return parent;
}

export function message(kind, title, text, ...ways) {
  return h("div", { class: `message ${kind}`, role: kind === "bad" ? "alert" : null },
    title && h("h3", { text: title }),
    text && h("p", { text: sentence(text) }),
    ways.length > 0 && h("div", { class: "row" }, ways));
}

export function failure(error, again) {
  const way = again && h("button", { type: "button", text: "Try again", on: { click: again } });
  return message("bad", "", error.message || String(error), ...(way ? [way] : []));
}

/* The package's messages begin small and end without a stop; on a page they are sentences. */
export function sentence(text) {
  const whole = String(text).trim();
  return whole && whole[0].toUpperCase() + whole.slice(1) + (/[.!?…]$/.test(whole) ? "" : ".");
}

export function loading(text = "Loading …") {
  return h("p", { class: "loading", text });
}

export function announce(text) {
  const place = document.getElementById("announcements");
  if (!place) return;
  place.textContent = "";
  setTimeout(() => { place.textContent = text; }, 40);
}

export function unique(stem) {
  count += 1;
  return `${stem}-${count}`;
}
