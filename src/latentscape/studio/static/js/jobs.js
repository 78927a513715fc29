/* Commands that the studio runs for the user.

   jobBox(job, {title, signal, onEnd}) → element: what the job says, and a button that stops it as ctrl-C would; it asks
     for news by itself. onEnd(job): once, when it has ended. */

import { every, get, post } from "./api.js";
import { button } from "./controls.js";
import { command } from "./copy.js";
import { announce, failure, fill, h, message, sentence } from "./elements.js";

export function jobBox(job, { title, signal, onEnd }) {
  const place = h("div", {});
  let ended = false;
  const show = (now) => {
    if (now.state === "running") {
      fill(place, h("div", { class: "message" }, h("h3", { text: title }), h("p", { text: now.last || "Starting …" }),
        h("div", { class: "row" }, button("Stop", async () => { await post(`/api/jobs/${now.id}/stop`); }))));
      return;
    }
    const said = now.last ? sentence(now.last) : "";
    if (now.state === "failed") fill(place, message("bad", `${title}: it failed`, said || "It ended without a word"), command(now.command));
    else if (now.state === "stopped") fill(place, message("", `${title}: stopped`, said || "It was stopped"));
    else fill(place);
  };
  show(job);
  every(1, async () => {
    if (ended) return 3600;
    let now;
    try {
      now = await get(`/api/jobs/${job.id}`, { signal });
    } catch (error) {
      if (error.status === 404) {
        ended = true;
        fill(place, failure(error));
      }
      throw error;
    }
    if (now.state === "running" && place.contains(document.activeElement)) place.querySelector("p").textContent = now.last || "Starting …";
    else show(now);
    if (now.state !== "running") {
      ended = true;
      announce(`${title}: ${now.state}`);
      onEnd?.(now);
    }
    return 1;
  }, signal);
  return place;
}
