// Sorting, filtering and picking on the board. A classic script without requests, so that pages work from file://.
"use strict";

(function () {
  const board = document.getElementById("board");
  if (!board) return;
  const body = board.tBodies[0];
  const rows = Array.from(body.rows);
  const filter = document.getElementById("filter");
  const found = document.getElementById("found");
  const select = document.getElementById("sort");
  document.querySelector(".tools").hidden = false;

  // Numbers by size, texts by alphabet, cells without a value last, in both directions.
  function compareCells(a, b, sign) {
    if (a === "" || b === "") return (a === "") - (b === "");
    const x = Number(a), y = Number(b);
    if (!isNaN(x) && !isNaN(y)) return sign * (x - y);
    return sign * a.localeCompare(b, undefined, { numeric: true });
  }

  const headings = Array.from(board.tHead.rows[0].cells);

  function sortBy(heading, direction) {
    const column = headings.indexOf(heading), sign = direction === "ascending" ? 1 : -1;
    const value = row => row.cells[column].dataset.value || "";
    headings.forEach(other => other.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", direction);
    select.value = heading.textContent;
    rows.slice().sort((a, b) => compareCells(value(a), value(b), sign)).forEach(row => body.append(row));
  }

  headings.filter(heading => "sort" in heading.dataset).forEach(heading => {
    const button = document.createElement("button");
    button.textContent = heading.textContent;
    heading.replaceChildren(button);
    select.add(new Option(button.textContent));
    button.addEventListener("click", () => {
      const now = heading.getAttribute("aria-sort");
      const first = heading.classList.contains("score") ? "descending" : "ascending";
      sortBy(heading, now ? (now === "ascending" ? "descending" : "ascending") : first);
    });
  });
  select.selectedIndex = -1;
  select.addEventListener("change", () => {
    const heading = headings.find(one => one.textContent === select.value);
    heading.removeAttribute("aria-sort");
    heading.querySelector("button").click();
  });

  filter.addEventListener("input", () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    rows.forEach(row => {
      row.hidden = !words.every(word => row.textContent.toLowerCase().includes(word));
      shown += !row.hidden;
    });
    found.textContent = words.length ? shown + " of " + rows.length : "";
  });
  document.addEventListener("keydown", event => {
    if (event.key === "/" && !/INPUT|SELECT/.test(document.activeElement.tagName)) {
      event.preventDefault();
      filter.focus();
    }
  });
})();

// Picking two rows on the board.
(function () {
  const link = document.getElementById("compare");
  if (!link) return;
  const boxes = Array.from(document.querySelectorAll("#board .pick input"));
  boxes.forEach(box => {
    box.hidden = false;
    box.addEventListener("change", () => {
      const picked = boxes.filter(one => one.checked);
      if (picked.length > 2) picked.find(one => one !== box).checked = false;
      const two = boxes.filter(one => one.checked);
      boxes.forEach(one => one.closest("tr").classList.toggle("picked", one.checked));
      link.setAttribute("aria-disabled", two.length !== 2);
      link.textContent = two.length === 2 ? "Compare the two" : two.length ? "Pick one more" : "Pick two to compare";
      if (two.length === 2) link.href = "compare/index.html#" + two.map(one => encodeURIComponent(one.value)).join("&");
      else link.removeAttribute("href");
    });
  });
})();

// Any two entries, from arrays that are loaded as scripts when they are needed.
document.addEventListener("DOMContentLoaded", function () {
  const pair = document.getElementById("pair");
  if (!pair || !window.skyfold) return;
  const selects = Array.from(pair.querySelectorAll("select"));
  const place = document.getElementById("comparison");
  const data = window.skyfold;

  function element(tag, text, className) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  }

  function signed(value) {
    return value === null ? "" : (value < 0 ? "" : "+") + value.toFixed(4);
  }

  function table(title, heads, rows) {
    if (!rows.length) return;
    const made = element("table"), head = made.createTHead().insertRow(), body = made.createTBody();
    heads.forEach((text, i) => head.append(element("th", text, i ? "score" : "text")));
    rows.forEach(cells => {
      const row = body.insertRow();
      cells.forEach((cell, i) => row.append(element("td", cell, i ? "score" : "text")));
    });
    const wide = element("div", undefined, "wide");
    wide.append(made);
    place.append(element("h2", title), wide);
  }

  function intervalOf(a, b) {
    const keys = data.pairs.keys, i = keys.indexOf(a), j = keys.indexOf(b);
    const found = data.pairs.pairs.find(one => one[0] === Math.min(i, j) && one[1] === Math.max(i, j));
    if (!found || found[2] === null) return null;
    return i < j ? found.slice(2) : [-found[2], -found[4], -found[3]];
  }

  function scatter(one, other) {
    const ns = "http://www.w3.org/2000/svg", svg = document.createElementNS(ns, "svg");
    svg.setAttribute("viewBox", "0 0 320 320");
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", "score of each sample, " + one.name + " by " + other.name);
    const all = one.rows.concat(other.rows).filter(value => value !== null);
    const low = Math.min.apply(null, all.slice(0, 50000)), high = Math.max.apply(null, all.slice(0, 50000));
    const at = value => 10 + 300 * (value - low) / ((high - low) || 1);
    const line = document.createElementNS(ns, "path");
    line.setAttribute("class", "diagonal");
    line.setAttribute("d", "M10 310L310 10");
    svg.append(line);
    const step = Math.ceil(one.rows.length / 3000);
    for (let i = 0; i < one.rows.length; i += step) {
      if (one.rows[i] === null || other.rows[i] === null) continue;
      const point = document.createElementNS(ns, "circle");
      point.setAttribute("class", "points");
      point.setAttribute("r", "2.5");
      point.setAttribute("cx", at(other.rows[i]));
      point.setAttribute("cy", 320 - at(one.rows[i]));
      svg.append(point);
    }
    const figure = element("figure", undefined, "chart"), charts = element("div", undefined, "charts");
    figure.append(svg, element("figcaption", "Each sample: up " + one.name + ", right " + other.name));
    charts.append(figure);
    place.append(element("h2", "Sample by sample"), charts);
  }

  function show(a, b) {
    const one = data["entry " + a], other = data["entry " + b], sign = data.samples.greater ? 1 : -1;
    place.replaceChildren();
    const gain = intervalOf(a, b);
    place.append(element("p", one.name + " " + one.score.toFixed(4) + ", " + other.name + " " + other.score.toFixed(4)
      + (gain ? ": " + signed(gain[0]) + " (" + signed(gain[1]) + " to " + signed(gain[2]) + "), paired" : "")
      + "; " + data.samples.metric + ", " + (sign > 0 ? "higher" : "lower") + " is better", "summary"));
    [["By class", "classes"], ["By fold", "folds"]].forEach(([title, key]) => {
      const names = Object.keys(one[key]).filter(name => name in other[key]);
      table(title, ["", one.name, other.name, "difference"], names.map(name =>
        [name, one[key][name].toFixed(4), other[key][name].toFixed(4), signed(one[key][name] - other[key][name])]));
    });
    const differences = [];
    one.rows.forEach((value, i) => {
      if (value !== null && other.rows[i] !== null && value !== other.rows[i]) differences.push([i, value - other.rows[i]]);
    });
    differences.sort((x, y) => Math.abs(y[1]) - Math.abs(x[1]));
    table("Samples in which they differ most", ["sample", one.name, other.name, "difference"],
      differences.slice(0, 20).map(([i, by]) => [data.samples.ids[i], (one.rows[i] / 1e4).toFixed(4),
        (other.rows[i] / 1e4).toFixed(4), signed(by / 1e4)]));
    scatter(one, other);
    const keys = Array.from(new Set(Object.keys(one.config).concat(Object.keys(other.config)))).sort();
    table("Config", ["key", one.name, other.name], keys.filter(key => key !== "name"
      && one.config[key] !== other.config[key]).map(key => [key, one.config[key] || "not set", other.config[key] || "not set"]));
  }

  function load(key, then) {
    if (data["entry " + key]) return then();
    const script = element("script");
    script.src = "scripts/entry_" + encodeURIComponent(key) + ".js";
    script.addEventListener("load", then);
    script.addEventListener("error", () => place.replaceChildren(element("p", script.src + ": missing. Build the site again.")));
    document.head.append(script);
  }

  function update() {
    const [a, b] = selects.map(select => select.value);
    history.replaceState(null, "", "#" + [a, b].map(encodeURIComponent).join("&"));
    load(a, () => load(b, () => show(a, b)));
  }

  function fromAddress() {
    const keys = location.hash.slice(1).split("&").map(decodeURIComponent);
    selects.forEach((select, i) => {
      select.selectedIndex = i;
      if (data.pairs.keys.includes(keys[i])) select.value = keys[i];
    });
    update();
  }

  pair.hidden = false;
  selects.forEach(select => select.addEventListener("change", update));
  window.addEventListener("hashchange", fromAddress);
  fromAddress();
});
