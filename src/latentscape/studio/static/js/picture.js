/* Pictures: small ones with their pixels as squares, never smoothed.

   picture({alt, title, caption, size}) → {element, canvas, draw(bytes, {width, height, channels}), drawPng(ArrayBuffer or Blob), clear(), blob()}
     a canvas that is drawn again and again; `size`: about how many pixels of the screen its longer side takes (320).
     draw: uint8 values row by row, 1 or 3 channels side by side (H×W×C).
     set alt with .alt = "…": what a reader who cannot see it is told.
   file({src, alt, title, caption, width, height, command, film}) → figure with a file of a run; pressed, it opens large,
     with a choice of zoom
   thumb(src, alt) → a small picture for tables */

import { choice } from "./controls.js";
import { command as commandBox } from "./copy.js";
import { fill, h } from "./elements.js";

export function picture({ alt = "", title, caption, size = 320 } = {}) {
  const canvas = h("canvas", { class: "pixels", width: 1, height: 1, role: "img", "aria-label": alt });
  const words = h("figcaption", {}, title && h("h3", { text: title }), caption && h("p", { text: caption }));
  const element = h("figure", { class: "picture" }, canvas, words.childElementCount > 0 && words);
  const fit = (width, height) => {
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
    }
    canvas.style.width = `${shownWidth(width, height, size)}px`;
  };
  return {
    element,
    canvas,
    set alt(text) { canvas.setAttribute("aria-label", text); },
    draw(bytes, { width, height, channels = 1 }) {
      fit(width, height);
      canvas.getContext("2d").putImageData(toImage(bytes, width, height, channels), 0, 0);
    },
    async drawPng(data) {
      const image = await createImageBitmap(data instanceof Blob ? data : new Blob([data], { type: "image/png" }));
      fit(image.width, image.height);
      canvas.getContext("2d").drawImage(image, 0, 0);
      image.close();
    },
    clear: () => canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height),
    blob: () => new Promise((resolve) => canvas.toBlob(resolve, "image/png")),
  };
}

/* A whole multiple of the picture's own pixels, as near to `size` as it gets; large pictures at `size`. */
export function shownWidth(width, height, size) {
  const longer = Math.max(width, height);
  return longer >= size ? (size * width) / longer : width * Math.max(1, Math.round(size / longer));
}

export function toImage(bytes, width, height, channels) {
  const values = bytes instanceof Uint8Array ? bytes : new Uint8Array(bytes);
  const image = new ImageData(width, height);
  for (let i = 0; i < width * height; i += 1) {
    for (let c = 0; c < 3; c += 1) image.data[4 * i + c] = values[channels * i + (channels === 1 ? 0 : c)];
    image.data[4 * i + 3] = 255;
  }
  return image;
}

const SMALL = 700; // up to this width a picture is shown with its pixels as squares, as in reports

export function file({ src, alt, title, caption, width = 0, height = 0, command, film = "" }) {
  const words = h("figcaption", {}, title && h("h3", { text: title }), caption && h("p", { text: caption }),
    command && h("details", {}, h("summary", { text: "Command" }), commandBox(command)));
  if (film === "mp4") {
    return h("figure", { class: "picture" }, h("video", { src, controls: true, loop: true, "aria-label": alt }), words);
  }
  const scale = width && width <= 320 ? Math.max(1, Math.floor(320 / width)) : 1;
  const image = h("img", { src, alt, loading: "lazy", class: width && width <= SMALL ? "pixels" : "",
    width: width ? width * scale : null, height: height ? height * scale : null });
  const open = h("button", { type: "button", class: "open", "aria-label": `Enlarge: ${title || alt}` }, image);
  open.addEventListener("click", () => enlarge({ src, alt, title, width: image.naturalWidth }));
  return h("figure", { class: "picture" }, open, words);
}

function enlarge({ src, alt, title, width }) {
  const image = h("img", { src, alt, class: "whole pixels" });
  const most = Math.max(1, Math.floor((innerWidth - 80) / width));
  const zoom = (k) => { image.style.width = `${width * k}px`; };
  const zooms = [1, 2, 3, 4, 6, 8].map((k) => ({ value: k, text: `×${k}` }));
  const start = Math.min(most, 4) === 5 ? 4 : Math.min(most, 4);
  zoom(start);
  const close = h("button", { type: "button", text: "Close" });
  const box = h("dialog", { "aria-label": title || alt },
    h("div", { class: "row ends" }, choice({ label: "Zoom", options: zooms.slice(0, 4), value: start, onChange: (k) => zoom(Number(k)) }).element, close),
    h("div", { class: "scroll", tabindex: "0" }, image));
  close.addEventListener("click", () => box.close());
  box.addEventListener("click", (event) => event.target === box && box.close());
  box.addEventListener("close", () => box.remove());
  document.body.append(box);
  box.showModal();
}

export function thumb(src, alt = "") {
  const place = h("span", { class: "thumb" });
  const image = h("img", { src, alt, loading: "lazy" });
  image.addEventListener("error", () => fill(place)); // a run that has no picture yet
  place.append(image);
  return place;
}
