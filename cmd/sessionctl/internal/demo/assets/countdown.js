// Counts down what the server wrote, in the same words (span.go). Without this
// script the page shows the times as they were when it was made.
"use strict";

function span(seconds) {
  const s = seconds % 60, m = Math.floor(seconds / 60) % 60, h = Math.floor(seconds / 3600) % 24, d = Math.floor(seconds / 86400);
  if (d > 0) return `${d} d ${h} h`;
  if (h > 0) return `${h} h ${m} min`;
  if (m > 0) return `${m} min ${s} s`;
  return `${s} s`;
}

function tick() {
  for (const e of document.querySelectorAll("[data-until]")) {
    e.textContent = span(Math.max(0, Math.floor((Date.parse(e.dataset.until) - Date.now()) / 1000)));
  }
}

tick();
setInterval(tick, 1000);
