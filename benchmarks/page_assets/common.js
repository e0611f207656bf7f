// What the pages share. Their content: {run, figures, styles}, as benchmarks/page.py wrote them.
const { run, figures, styles } = JSON.parse(document.getElementById("content").textContent);
const rows = run.measurements;
const byId = (id) => document.getElementById(id);
const hasLabels = rows.some((row) => row.top1 !== null);
const threads = run.options.device === "cuda" ? run.machine.gpu
  : `${run.options.threads} thread${run.options.threads > 1 ? "s" : ""}`;

const QUALITIES = [
  { field: "recall10", label: "recall@10", scale: "recall", factor: 1 },
  { field: "top1", label: "top-1, %", scale: "linear", factor: 100 },
  { field: "map10", label: "mAP@10, %", scale: "linear", factor: 100 },
].filter((quality) => hasLabels || quality.field === "recall10");
const COSTS = [
  { field: "batch_us", label: `batch on ${threads}: µs per query` },
  { field: "latency_p50_us", label: "one query at a time: median µs" },
  { field: "latency_p99_us", label: "one query at a time: 99th percentile, µs" },
  { field: "mflops", label: "MFLOPs per query" },
  { field: "bytes_per_vector", label: "bytes per vector" },
  { field: "build_seconds", label: "seconds to build" },
];
const methods = Object.keys(styles).filter((name) => rows.some((row) => row.method === name));
const hidden = new Set();
let sorting = { column: null, down: false };

function html(name, attributes = {}, parent, text) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  if (parent) parent.append(element);
  return element;
}

function fixed(value, decimals) {
  return value.toLocaleString("en-US", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
}
const number = (value) => fixed(value, value >= 100 || Number.isInteger(value) ? 0 : value >= 10 ? 1 : value >= 1 ? 2 : 3);
const times = (ratio) => `${fixed(ratio, ratio >= 10 ? 0 : ratio >= 0.95 ? 1 : 2)}×`;
const percent = (share) => (share === null ? "–" : (100 * share).toFixed(2));

// Parameters as one line; those in `without` are left out.
function settings(parameters, without = {}) {
  const shown = (value) => (Array.isArray(value) ? value.map((stage) => stage.join(":")).join(" ") : value);
  return Object.entries(parameters).filter(([name]) => !(name in without)).map(([name, value]) => `${name.replaceAll("_", " ")} ${shown(value)}`).join(", ");
}

// The parameters that all settings of a method share, if there are several settings.
function common(method) {
  const group = rows.filter((row) => row.method === method);
  if (group.length < 2) return {};
  const same = ([name, value]) => group.every((row) => JSON.stringify(row.parameters[name]) === JSON.stringify(value));
  return Object.fromEntries(Object.entries(group[0].parameters).filter(same));
}

function describe(row) {
  return [
    settings(row.parameters),
    (row.recall10 === null ? "rigid twin" : `recall@10 ${row.recall10.toFixed(4)}`) + (row.top1 === null ? "" : `, top-1 ${percent(row.top1)} %, mAP@10 ${percent(row.map10)} %`),
    `batch ${number(row.batch_us)} µs (${number(row.batch_us_fastest)} to ${number(row.batch_us_slowest)}), ` +
      `${number(row.queries_per_second)} queries/s`,
    `one query p50 ${number(row.latency_p50_us)} µs, p99 ${number(row.latency_p99_us)} µs`,
    `${number(row.mflops)} MFLOPs, ${number(row.bytes_per_vector)} bytes/vector, built in ${number(row.build_seconds)} s`,
  ].join("\n");
}

function front(measurements, cost, quality) {
  const known = measurements.filter((row) => row[quality] !== null);
  known.sort((a, b) => a[cost] - b[cost] || b[quality] - a[quality]);
  const best = [];
  for (const row of known) if (!best.length || row[quality] > best.at(-1)[quality]) best.push(row);
  return best;
}

function choice(options, id) {
  return options[byId(id).selectedIndex];
}

function swatch(name) {
  const icon = svg("svg", { width: 30, height: 14, viewBox: "0 0 30 14" });
  svg("path", { d: "M 1 7 H 29", stroke: styles[name].colour, "stroke-width": 2,
    "stroke-dasharray": styles[name].dashed ? "5 3" : "none" }, icon);
  marker(icon, styles[name], 15, 7, 4.5);
  return icon;
}

// What a page's controls leave to be explored: each page's script has its own rowsInView().
function drawExplorer() {
  const quality = choice(QUALITIES, "quality"), cost = choice(COSTS, "cost"), everything = byId("all-settings").checked;
  const series = [], shown = rowsInView();
  for (const name of methods) {
    if (hidden.has(name)) continue;
    const group = shown.filter((row) => row.method === name && row[quality.field] !== null);
    const asPoint = (row) => [row[cost.field], row[quality.field] * quality.factor, describe(row)];
    if (everything) series.push({ name, scatter: true, points: group.map(asPoint) });
    series.push({ name, points: front(group, cost.field, quality.field).map(asPoint) });
  }
  const container = byId("explorer");
  container.replaceChildren();
  drawChart(container, { x_label: `${cost.label} (log)`, y_label: quality.label, x_scale: "log", y_scale: quality.scale, series },
    styles, 1040, 520);
  drawFronts(quality, cost);
}

function drawLegend() {
  byId("legend").replaceChildren();
  const present = new Set(rowsInView().map((row) => row.method));
  for (const name of methods.filter((method) => present.has(method))) {
    const button = html("button", { type: "button", "aria-pressed": String(!hidden.has(name)) }, byId("legend"));
    button.append(swatch(name), name);
    button.addEventListener("click", () => {
      if (!hidden.delete(name)) hidden.add(name);
      button.setAttribute("aria-pressed", String(!hidden.has(name)));
      drawExplorer();
    });
  }
}

// `others`: ids of the page's own controls.
function startExplorer(...others) {
  for (const quality of QUALITIES) html("option", {}, byId("quality"), quality.label);
  for (const cost of COSTS) html("option", {}, byId("cost"), cost.label);
  for (const id of ["quality", "cost", "all-settings", ...others]) byId(id).addEventListener("change", () => { drawLegend(); drawExplorer(); });
  drawLegend();
  drawExplorer();
}

function drawPublished() {
  const pairs = figures.filter((figure) => figure.panels.some((panel) => panel.title.startsWith("Published")));
  byId("published").hidden = !pairs.length;
  for (const figure of pairs) {
    html("h3", {}, byId("published"), figure.title);
    html("p", { class: "quiet" }, byId("published"), figure.caption);
    const pair = html("div", { class: "pair" }, byId("published"));
    for (const panel of figure.panels) {
      const side = html("div", {}, pair);
      html("h4", {}, side, panel.title);
      const legend = html("div", { class: "legend" }, side);
      for (const series of panel.series) {
        const entry = html("span", { style: "display:inline-flex;align-items:center;gap:5px;font-size:13px" }, legend);
        entry.append(swatch(series.name), series.name);
      }
      drawChart(side, panel, styles, 520, 340);
    }
  }
}

const COLUMNS = [
  { label: "method", value: (row) => row.method, words: true },
  { label: "settings", value: (row) => settings(row.parameters, common(row.method)), words: true },
  { label: "recall@10", value: (row) => row.recall10, shown: (value) => (value === null ? "–" : value.toFixed(4)) },
  { label: "top-1 %", value: (row) => row.top1, shown: percent },
  { label: "mAP@10 %", value: (row) => row.map10, shown: percent },
  { label: "µs/query", value: (row) => row.batch_us },
  { label: "queries/s", value: (row) => row.queries_per_second },
  { label: "p50 µs", value: (row) => row.latency_p50_us },
  { label: "p99 µs", value: (row) => row.latency_p99_us },
  { label: "MFLOPs", value: (row) => row.mflops },
  { label: "B/vector", value: (row) => row.bytes_per_vector },
  { label: "build s", value: (row) => row.build_seconds },
];

function drawFronts(quality, cost) {
  const columns = COLUMNS.filter((column) => hasLabels || !["top-1 %", "mAP@10 %"].includes(column.label));
  const shown = methods.filter((name) => !hidden.has(name))
    .flatMap((name) => front(rowsInView().filter((row) => row.method === name), cost.field, quality.field));
  if (sorting.column) {
    const order = (a, b) => (typeof a === "string" ? a.localeCompare(b) : a - b);
    shown.sort((a, b) => order(sorting.column.value(a), sorting.column.value(b)) * (sorting.down ? -1 : 1));
  }
  const table = byId("fronts");
  table.replaceChildren();
  const head = html("tr", {}, html("thead", {}, table));
  for (const column of columns) {
    const arrow = sorting.column === column ? (sorting.down ? " ↓" : " ↑") : "";
    const cell = html("th", { class: column.words ? "words" : "" }, head, column.label + arrow);
    cell.addEventListener("click", () => {
      sorting = { column, down: sorting.column === column && !sorting.down };
      drawFronts(quality, cost);
    });
  }
  const body = html("tbody", {}, table);
  for (const row of shown) {
    const line = html("tr", {}, body);
    for (const column of columns) {
      const value = column.value(row);
      html("td", { class: column.words ? "words" : "" }, line, column.words ? value : (column.shown || number)(value));
    }
  }
}

const data = run.dataset;
byId("data-line").textContent = `${data.name}: ${number(data.rows)} vectors of ${data.dims} dimensions, ` +
  `${number(data.queries)} queries, ${data.metric}. ${data.source}`;
byId("machine-line").textContent = `${run.machine.cpu}, ${run.machine.cores} cores, ${threads}; ${run.date.slice(0, 10)}, ` +
  `commit ${(run.machine.commit || "unknown").slice(0, 10)}${run.machine.commit_is_dirty ? " with changes" : ""}`;
byId("origin").textContent = JSON.stringify({ machine: run.machine, options: run.options, dataset: run.dataset }, null, 2);
