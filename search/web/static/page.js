// Follows the search, and says what is under the pointer. The page works without it.
"use strict";

(() => {
  const main = document.getElementById("main");

  // --- what has come ---

  const busy = (part) => part.contains(document.activeElement) && document.activeElement.matches("input, textarea, select");

  function opened(part) {
    return [...part.querySelectorAll("details")].map((one) => one.open);
  }

  function take(fresh) {
    const news = [...fresh.querySelectorAll("[data-live]")];
    if (!document.querySelector("#main [data-live]") && fresh.querySelector("#main [data-live]")) {
      main.replaceChildren(...fresh.getElementById("main").childNodes);
      return;
    }
    for (const part of news) {
      const old = document.getElementById(part.id);
      if (!old) { location.reload(); return; }
      if (old.innerHTML === part.innerHTML || busy(old)) continue;
      const open = opened(old);
      const aside = [...old.querySelectorAll(".wide")].map((one) => one.scrollLeft);
      old.replaceChildren(...part.childNodes);
      old.querySelectorAll("details").forEach((one, place) => { one.open = open[place] || false; });
      old.querySelectorAll(".wide").forEach((one, place) => { one.scrollLeft = aside[place] || 0; });
    }
    points = null;
  }

  async function refresh() {
    if (document.hidden) { stale = true; return; }
    stale = false;
    const answer = await fetch(location.href, { credentials: "same-origin" });
    if (answer.ok) take(new DOMParser().parseFromString(await answer.text(), "text/html"));
  }

  let stale = false;
  if (window.EventSource) {
    const events = new EventSource("/events");
    events.addEventListener("changed", () => refresh().catch(() => {}));
    document.addEventListener("visibilitychange", () => { if (!document.hidden && stale) refresh().catch(() => {}); });
    window.addEventListener("pagehide", () => events.close());
  }

  // --- what is under the pointer ---

  const [RIGHT, TOP, BOTTOM] = [12, 12, 26];
  const NEAR = 24;
  let points = null;
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  document.body.append(tip);

  function nearest(chart, event) {
    const box = chart.getBoundingClientRect();
    const view = chart.viewBox.baseVal;
    const x = ((event.clientX - box.left) / box.width) * view.width;
    const y = ((event.clientY - box.top) / box.height) * view.height;
    const left = Number(chart.dataset.left);
    const last = Math.max(Number(chart.dataset.count) - 1, 1);
    const [low, high] = [Number(chart.dataset.low), Number(chart.dataset.high)];
    const begin = Math.max(Math.floor(((x - NEAR - left) / (view.width - left - RIGHT)) * last), 0);
    const end = Math.ceil(((x + NEAR - left) / (view.width - left - RIGHT)) * last);
    let found = null;
    let least = NEAR * NEAR;
    for (let place = begin; place <= end && place < points.length; place += 1) {
      const [, value, status] = points[place];
      const share = value === null ? 0 : Math.min(Math.max((value - low) / (high - low), 0), 1);
      const across = left + (place / last) * (view.width - left - RIGHT) - x;
      const up = view.height - BOTTOM - share * (view.height - BOTTOM - TOP) - y;
      const far = across * across + up * up - (status === "keep" ? 36 : 0);
      if (far < least) { least = far; found = points[place]; }
    }
    return found;
  }

  let asked = null;
  async function look(chart) {
    if (points === null) {
      asked = asked || fetch("/points", { credentials: "same-origin" }).then((answer) => answer.json());
      points = await asked;
      asked = null;
    }
  }

  document.addEventListener("pointermove", (event) => {
    const chart = event.target.closest && event.target.closest("[data-hover]");
    if (!chart) { tip.hidden = true; return; }
    if (points === null) { look(chart).catch(() => {}); return; }
    const found = nearest(chart, event);
    tip.hidden = !found;
    if (!found) return;
    const [number, value, status] = found;
    tip.textContent = `experiment ${number}: ${status}${value === null ? "" : ` ${value}`}`;
    const right = event.clientX > window.innerWidth / 2;
    tip.style.left = `${event.pageX + (right ? -12 - tip.offsetWidth : 12)}px`;
    tip.style.top = `${event.pageY + 12}px`;
  });

  document.addEventListener("click", (event) => {
    const chart = event.target.closest && event.target.closest("[data-hover]");
    if (!chart || points === null) return;
    const found = nearest(chart, event);
    if (found) location.href = `/experiments/${found[0]}`;
  });
})();
