"use strict";
// Airflow's own theme, where this page stands in its frame; else what the system prefers.
(() => {
  const root = document.documentElement;
  let outside = null;
  try { outside = window.parent === window ? null : window.parent.document.documentElement; } catch { /* another origin */ }
  if (outside === null) return;
  const follow = () => {
    if (outside.classList.contains("dark")) root.dataset.theme = "dark";
    else if (outside.classList.contains("light")) root.dataset.theme = "light";
    else delete root.dataset.theme;
  };
  follow();
  new MutationObserver(follow).observe(outside, { attributes: true, attributeFilter: ["class"] });
})();
// Airflow's frame lets no link lead out of it: so the page around it follows the link.
(() => {
  if (window.parent === window) return;
  for (const link of document.querySelectorAll("a[data-out]")) link.addEventListener("click", event => {
    const outer = window.parent.document, twin = outer.createElement("a");
    twin.href = link.href;
    if (event.ctrlKey || event.metaKey || event.shiftKey) twin.target = "_blank";
    event.preventDefault();
    outer.body.append(twin);
    twin.click();
    twin.remove();
  });
})();
// Instants count down, by the ledger's clock. Without this they are instants.
(() => {
  const places = document.querySelectorAll("[data-until]");
  if (!places.length) return;
  const ahead = Number(document.body.dataset.now) - performance.now() / 1000;
  const words = (s) => s < 90 ? `${s} s`
    : s < 5400 ? `${Math.floor(s / 60)} min ${s % 60} s`
    : s < 172800 ? `${Math.floor(s / 3600)} h ${Math.floor(s % 3600 / 60)} min`
    : `${Math.floor(s / 86400)} d ${Math.floor(s % 86400 / 3600)} h`;
  const tick = () => {
    const now = ahead + performance.now() / 1000;
    for (const place of places) {
      const left = Math.ceil(Number(place.dataset.until) - now);
      place.textContent = left > 0 ? `(in ${words(left)})` : "(now)";
    }
  };
  tick();
  setInterval(tick, 1000);
})();
