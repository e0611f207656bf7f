// Draws one pair of axes with curves as SVG. Scales: "linear", "log", "log2", "recall" (log of 1 - recall).
"use strict";

const NAMESPACE = document.getElementById("namespace").namespaceURI;
// Everything above this recall is drawn at the tick "1": log(1 - 1) has no place on the axis.
const RECALL_ONE = 0.9999;
const RECALL_TICKS = [0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999];

function svg(name, attributes, parent, text) {
  const element = document.createElementNS(NAMESPACE, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  if (parent) parent.append(element);
  return element;
}

const SCALES = {
  linear: (value) => value,
  log: (value) => Math.log10(value),
  log2: (value) => Math.log2(value),
  recall: (value) => -Math.log10(1 - Math.min(value, RECALL_ONE)),
};

function ticks(scale, low, high) {
  const result = [];
  if (scale === "recall") {
    for (const tick of RECALL_TICKS) if (tick >= low && tick <= high) result.push([tick, String(tick)]);
    if (high >= RECALL_ONE) result.push([RECALL_ONE, "1"]);
  } else if (scale === "log2") {
    for (let power = Math.ceil(Math.log2(low)); 2 ** power <= high; power++) result.push([2 ** power, String(2 ** power)]);
  } else if (scale === "log") {
    const decades = Math.log10(high / low);
    const steps = decades > 4 ? [1] : decades > 2.2 ? [1, 3] : [1, 2, 5];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++)
      for (const step of steps) {
        const tick = step * 10 ** power;
        if (tick >= low * 0.999 && tick <= high * 1.001) result.push([tick, shortNumber(tick)]);
      }
  } else {
    const rough = (high - low) / 6;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough);
    const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    for (let tick = Math.ceil(low / step) * step; tick <= high + step / 1e6; tick += step) result.push([tick, tick.toFixed(decimals)]);
  }
  return result;
}

function shortNumber(value) {
  if (value >= 1000) return Math.round(value).toLocaleString("en-US");
  return String(Number(value.toPrecision(3)));
}

// Path of a marker around (0, 0), by matplotlib's letters.
function markerPath(letter, size) {
  const r = size, d = size * 0.72, w = size * 0.34;
  return {
    o: `M ${-r} 0 a ${r} ${r} 0 1 0 ${2 * r} 0 a ${r} ${r} 0 1 0 ${-2 * r} 0 Z`,
    s: `M ${-d} ${-d} H ${d} V ${d} H ${-d} Z`,
    D: `M 0 ${-r} L ${r} 0 L 0 ${r} L ${-r} 0 Z`,
    d: `M 0 ${-r * 1.2} L ${r * 0.75} 0 L 0 ${r * 1.2} L ${-r * 0.75} 0 Z`,
    "^": `M 0 ${-r} L ${r} ${d} H ${-r} Z`,
    v: `M 0 ${r} L ${r} ${-d} H ${-r} Z`,
    P: `M ${-w} ${-r} H ${w} V ${-w} H ${r} V ${w} H ${w} V ${r} H ${-w} V ${w} H ${-r} V ${-w} H ${-w} Z`,
    X: `M 0 ${-w} L ${r - w} ${-r} L ${r} ${-r + w} L ${w} 0 L ${r} ${r - w} L ${r - w} ${r} L 0 ${w}` +
      ` L ${-r + w} ${r} L ${-r} ${r - w} L ${-w} 0 L ${-r} ${-r + w} L ${-r + w} ${-r} Z`,
  }[letter];
}

function marker(parent, style, x, y, size) {
  return svg("path", {
    d: markerPath(style.marker, size), transform: `translate(${x} ${y})`, class: "mark",
    fill: style.dashed ? "#fff" : style.colour, stroke: style.colour, "stroke-width": 1.5,
  }, parent);
}

function extent(values, scale) {
  const low = Math.min(...values), high = Math.max(...values);
  if (scale === "recall") return [Math.max(0.5, low), Math.min(high, 1)];
  if (scale === "linear") {
    const room = (high - low || Math.abs(high) || 1) * 0.06;
    return [low - room, high + room];
  }
  const room = (high / low) ** 0.04 * 1.04;
  return [low / room, high * room];
}

// panel: {x_label, y_label, x_scale, y_scale, series: [{name, points: [[x, y, text], ...], scatter}]}.
function drawChart(container, panel, styles, width, height) {
  const margin = { left: 62, right: 18, top: 12, bottom: 46 };
  const root = svg("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": `${panel.y_label} against ${panel.x_label}` });
  container.append(root);
  const points = panel.series.flatMap((series) => series.points);
  if (!points.length) {
    svg("text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, root, "nothing to show");
    return;
  }
  const [xLow, xHigh] = extent(points.map((point) => point[0]), panel.x_scale);
  const [yLow, yHigh] = extent(points.map((point) => point[1]), panel.y_scale);
  const place = (scale, low, high, from, to, pad) => {
    const a = SCALES[scale](low) - pad, b = SCALES[scale](high) + pad;
    return (value) => from + ((SCALES[scale](value) - a) / (b - a || 1)) * (to - from);
  };
  const x = place(panel.x_scale, xLow, xHigh, margin.left, width - margin.right, 0);
  const y = place(panel.y_scale, yLow, yHigh, height - margin.bottom, margin.top, panel.y_scale === "recall" ? 0.08 : 0);
  for (const [tick, label] of ticks(panel.x_scale, xLow, xHigh)) {
    svg("line", { x1: x(tick), x2: x(tick), y1: margin.top, y2: height - margin.bottom, class: "grid" }, root);
    svg("text", { x: x(tick), y: height - margin.bottom + 16, "text-anchor": "middle" }, root, label);
  }
  for (const [tick, label] of ticks(panel.y_scale, yLow, yHigh)) {
    svg("line", { x1: margin.left, x2: width - margin.right, y1: y(tick), y2: y(tick), class: "grid" }, root);
    svg("text", { x: margin.left - 7, y: y(tick) + 4, "text-anchor": "end" }, root, label);
  }
  svg("path", { d: `M ${margin.left} ${margin.top} V ${height - margin.bottom} H ${width - margin.right}`, class: "frame" }, root);
  svg("text", { x: (margin.left + width - margin.right) / 2, y: height - 8, "text-anchor": "middle", class: "axis-label" }, root, panel.x_label);
  svg("text", { transform: `translate(14 ${(margin.top + height - margin.bottom) / 2}) rotate(-90)`, "text-anchor": "middle",
    class: "axis-label" }, root, panel.y_label);
  for (const series of panel.series) {
    const style = styles[series.name];
    const shown = series.points.filter((point) => panel.y_scale !== "recall" || point[1] >= yLow);
    if (!series.scatter) {
      const line = shown.map((point) => `${x(point[0])} ${y(point[1])}`).join(" L ");
      if (line) svg("path", { d: "M " + line, fill: "none", stroke: style.colour, "stroke-width": 2,
        "stroke-dasharray": style.dashed ? "6 4" : "none" }, root);
    }
    for (const point of shown) {
      const mark = marker(root, style, x(point[0]), y(point[1]), series.scatter ? 2.5 : 5);
      if (series.scatter) mark.setAttribute("opacity", 0.55);
      mark.addEventListener("pointerenter", (event) => showTip(event, `${series.name}\n${point[2]}`));
      mark.addEventListener("pointerleave", hideTip);
    }
  }
}

function showTip(event, text) {
  const tip = document.getElementById("tip");
  tip.textContent = text;
  tip.hidden = false;
  const left = Math.min(event.pageX + 14, window.scrollX + document.documentElement.clientWidth - tip.offsetWidth - 8);
  tip.style.left = `${left}px`;
  tip.style.top = `${event.pageY + 14}px`;
}

function hideTip() {
  document.getElementById("tip").hidden = true;
}
