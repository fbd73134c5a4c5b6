"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const map = document.getElementById("map");
  if (!map || !data || data.length === 0) return;
  const form = document.getElementById("map-form");
  const select = document.getElementById("image");
  const crumbs = document.getElementById("crumbs");
  const note = document.getElementById("map-note");
  const rows = document.querySelector("#map-table tbody");
  const words = { s: "smaller ones", m: "the image itself" };

  let trail = []; // from the root to the directory that is shown

  const size = (n) => {
    if (n < 1024) return n + " B";
    let unit = -1;
    while (n >= 1024 && unit < 5) { n /= 1024; unit++; }
    return n.toFixed(1) + " " + "KMGTPE"[unit] + "iB";
  };
  const nameOf = (n) => words[n.k] || n.n + (n.k === "d" && n.n !== "/" ? "/" : "");
  const area = () => form.elements.area.value;
  const element = (name, text, className) => {
    const e = document.createElement(name);
    if (text !== undefined) e.textContent = text;
    if (className) e.className = className;
    return e;
  };

  // squarify gives each of the weights, the largest first, a rectangle, as square as it gets
  // (Bruls, Huizing, van Wijk: Squarified Treemaps, 2000).
  function squarify(weights, x, y, w, h) {
    const out = [];
    let rest = weights.reduce((a, b) => a + b, 0);
    let i = 0;
    while (i < weights.length && rest > 0) {
      const short = Math.min(w, h);
      const scale = (w * h) / rest;
      let sum = 0, worst = Infinity, end = i;
      while (end < weights.length) {
        const next = sum + weights[end] * scale;
        const side = next / short;
        const ratio = Math.max(
          (weights[i] * scale) / side / side, (side * side) / (weights[end] * scale));
        if (ratio > worst) break;
        sum = next; worst = ratio; end++;
      }
      const side = sum / short;
      let at = 0;
      for (; i < end; i++) {
        const length = (weights[i] * scale) / side;
        out.push(w >= h ? [x, y + at, side, length] : [x + at, y, length, side]);
        at += length;
        rest -= weights[i];
      }
      if (w >= h) { x += side; w -= side; } else { y += side; h -= side; }
    }
    return out;
  }

  function open(...nodes) { trail.push(...nodes); draw(true); }

  // drawTile draws a node, and what is in it as far as there is room; above says in which node of
  // those that are shown it is.
  function drawTile(node, index, [x, y, w, h], total, above) {
    const inside = node.c && node.c.length > 0;
    const share = ((100 * node[area()]) / total).toFixed(0) + " %";
    const label = nameOf(node) + ": " + size(node[area()]) + ", " + share;
    const tile = element(inside ? "button" : "div", undefined, "h" + (index % 5) + " k" + node.k + (above ? " inner" : ""));
    if (inside) {
      tile.type = "button";
      tile.setAttribute("aria-label", label + ", open");
      tile.addEventListener("click", () => (above ? open(above, node) : open(node)));
    }
    tile.title = label;
    tile.style.left = x + "px";
    tile.style.top = y + "px";
    tile.style.width = w + "px";
    tile.style.height = h + "px";
    if (w > 44 && h > 20) {
      tile.append(element("b", nameOf(node)));
      if (h > 38) tile.append(size(node[area()]));
    }
    map.append(tile);
    if (inside && !above && w > 90 && h > 80) drawNodes(node, [x + 5, y + 40, w - 10, h - 45], node);
  }

  // drawNodes draws what is in a node into a rectangle.
  function drawNodes(here, [x, y, w, h], above) {
    const key = area();
    const shown = (here.c || []).filter((n) => n[key] > 0).sort((a, b) => b[key] - a[key]);
    const places = squarify(shown.map((n) => n[key]), x, y, w, h);
    shown.forEach((node, i) => drawTile(node, i, places[i], here[key], above));
    return shown.length;
  }

  function draw(focus) {
    const here = trail[trail.length - 1];
    crumbs.replaceChildren(...trail.map((node, i) => {
      if (i === trail.length - 1) {
        const last = element("span", nameOf(node));
        last.setAttribute("aria-current", "location");
        return last;
      }
      const back = element("button", nameOf(node));
      back.type = "button";
      back.addEventListener("click", () => { trail.length = i + 1; draw(true); });
      return back;
    }));
    map.replaceChildren();
    const shown = drawNodes(here, [0, 0, map.clientWidth, map.clientHeight]);
    note.textContent = shown === 0
      ? (area() === "e" ? "Nothing here is only this image's." : "Nothing is stored here.")
      : size(here.e) + " only here, of " + size(here.s) + " in " + here.f + (here.f === 1 ? " file." : " files.");
    rows.replaceChildren(...(here.c || []).map((node) => {
      const row = element("tr");
      row.append(element("td", nameOf(node)), element("td", size(node.e)), element("td", size(node.s)), element("td", node.f));
      return row;
    }));
    if (focus) (map.querySelector("button") || crumbs.querySelector("button"))?.focus({ preventScroll: true });
  }

  data.forEach((image, i) => {
    const option = element("option", image.label);
    option.value = i;
    select.append(option);
  });
  const show = () => { trail = [data[select.value].root]; draw(false); };
  select.addEventListener("change", show);
  form.addEventListener("submit", (e) => e.preventDefault());
  for (const radio of form.elements.area) radio.addEventListener("change", () => draw(false));
  map.addEventListener("keydown", (e) => {
    if ((e.key === "Escape" || e.key === "Backspace") && trail.length > 1) { trail.pop(); draw(true); e.preventDefault(); }
  });
  addEventListener("resize", () => draw(false));
  form.hidden = false;
  show();
})();
