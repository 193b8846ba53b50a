// Shows the states in STATES (states.py wrote them); nothing of the agent is computed here.
"use strict";
const MAPS = [
  { name: "Expected cost", unit: "ms", colours: "cividis_r", log: true },
  { name: "Next choice", unit: "%", colours: "Greys", log: true, limits: [0.1, 100] },
  { name: "Standard deviation", unit: "%", colours: "Purples", limits: [0, 100] },
];
const CELL = 24;
const SVG = "http://www.w3.org/2000/svg";
const field = (name) => document.getElementById(`explorer-${name}`);

function element(parent, name, attributes, text) {
  const own = name === name.toLowerCase() && parent.namespaceURI === SVG || name === "svg"
    ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) own.setAttribute(key, value);
  if (text !== undefined) own.textContent = text;
  return parent.appendChild(own);
}

function limitsOf(map, values) {
  if (map.limits) return map.limits;
  const known = values.filter((value) => value !== null);
  return known.length ? [Math.min(...known), Math.max(...known)] : [1, 10];
}

function colour(map, value, [low, high]) {
  if (value === null) return "#e5e5e5";
  const at = map.log ? Math.log : (x) => x;
  const share = (at(Math.max(value, low)) - at(low)) / (at(high) - at(low) || 1);
  const colours = STATES.colours[map.colours];
  return colours[Math.round(Math.min(Math.max(share, 0), 1) * (colours.length - 1))];
}

function panel(parent, map, values, limits, grid, title, region, measured, recommended) {
  const [down, , across] = STATES.axes;
  const [width, height] = [grid[0].length * CELL, grid.length * CELL];
  const svg = element(parent, "svg", {
    viewBox: `-34 -20 ${width + 38} ${height + 42}`, role: "img",
    "aria-label": `${map.name}, ${title}; rows are ${down.name}, columns are ${across.name}`,
  });
  element(svg, "text", { x: width / 2, y: -7, "text-anchor": "middle" }, title);
  grid.forEach((row, y) => row.forEach((index, x) => {
    const place = { x: x * CELL, y: y * CELL, width: CELL, height: CELL };
    const cell = element(svg, "rect", { ...place, fill: colour(map, values[index], limits) });
    const number = values[index] === null ? "no estimate" : `${values[index]} ${map.unit}`;
    element(cell, "title", {}, `${STATES.configurations[index]}: ${number}`);
    const [left, top, right, bottom] = [x * CELL, y * CELL, (x + 1) * CELL, (y + 1) * CELL];
    const edges = [[-1, 0, left, top, left, bottom], [1, 0, right, top, right, bottom],
                   [0, -1, left, top, right, top], [0, 1, left, bottom, right, bottom]];
    for (const [dx, dy, x1, y1, x2, y2] of edges)
      if (region.has(index) && !region.has(grid[y + dy]?.[x + dx]))
        element(svg, "line", { x1, y1, x2, y2, class: "mark" });
    const middle = [left + CELL / 2, top + CELL / 2];
    if (index === measured)
      element(svg, "path", { d: `M${middle}m-5-5l10 10m0-10l-10 10`, class: "mark" });
    if (index === recommended)
      element(svg, "circle", { cx: middle[0], cy: middle[1], r: 9, class: "mark" });
  }));
  down.values.forEach((name, y) => element(svg, "text",
    { x: -4, y: (y + 0.65) * CELL, "text-anchor": "end" }, name));
  across.values.forEach((name, x) => element(svg, "text",
    { x: (x + 0.5) * CELL, y: height + 14, "text-anchor": "middle" }, name));
}

function table(values) {
  const body = field("table");
  body.replaceChildren();
  const order = STATES.configurations.map((_, index) => index)
    .filter((index) => values[0][index] !== null)
    .sort((a, b) => values[0][a] - values[0][b]).slice(0, 10);
  for (const index of order) {
    const row = element(body, "tr");
    element(row, "th", { scope: "row" }, STATES.configurations[index]);
    for (const column of values) element(row, "td", {}, column[index] ?? "no estimate");
  }
}

function draw() {
  const settings = ["load", "radius", "similarity", "temperature"].map((name) => field(name).value);
  const state = STATES.runs[settings.join(" ")][field("episodes").value];
  const [episodes, ...rest] = state;
  const [values, [measured, recommended, above]] = [rest.slice(0, 3), rest.slice(3)];
  const region = new Set(measured === null ? [] : STATES.regions[settings[1]][measured]);
  field("count").textContent = episodes;
  field("episodes").setAttribute("aria-valuetext", `${episodes} episodes`);
  field("status").textContent = recommended === null
    ? "Nothing is measured yet: every configuration is equally likely."
    : `After ${episodes} episode${episodes === 1 ? "" : "s"}: the last measurement is of ` +
      `${STATES.configurations[measured]}, and its region has ${region.size} of ` +
      `${STATES.configurations.length} configurations. What would be deployed is ` +
      `${STATES.configurations[recommended]}, ${above} % above the best.`;
  const maps = field("maps");
  maps.replaceChildren();
  MAPS.forEach((map, number) => {
    const limits = limitsOf(map, values[number]);
    const shown = limits.map((limit) => `${Number(limit.toPrecision(3))} ${map.unit}`);
    const figure = element(maps, "figure");
    const caption = element(figure, "figcaption", {}, `${map.name} `);
    element(caption, "span", {}, shown[0]);
    const stops = STATES.colours[map.colours].join(",");
    element(caption, "span", { class: "scale", style: `background:linear-gradient(90deg,${stops})` });
    element(caption, "span", {}, shown[1]);
    const row = element(figure, "div", { class: "panels" });
    STATES.panels.forEach((grid, index) => panel(row, map, values[number], limits, grid,
      `${STATES.axes[1].name}: ${STATES.axes[1].values[index]}`, region, measured, recommended));
  });
  table(values);
}

for (const [name, options] of [["load", STATES.loads], ["radius", STATES.radii],
  ["similarity", STATES.similarities], ["temperature", STATES.temperatures]]) {
  for (const option of options) element(field(name), "option", {}, option);
  field(name).addEventListener("change", draw);
}
field("load").value = STATES.loads.at(-1);
field("radius").value = "1";
field("temperature").value = "0.02";
field("episodes").max = Object.values(STATES.runs)[0].length - 1;
field("episodes").value = 10;
field("episodes").addEventListener("input", draw);
field("next").addEventListener("click", () => { field("episodes").stepUp(); draw(); });
field("again").addEventListener("click", () => { field("episodes").value = 0; draw(); });
draw();
