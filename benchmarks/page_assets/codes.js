// Fills the page of a run of codes.
const KINDS = [
  { label: "codes alone", holds: (name) => !name.includes(" + ") },
  { label: `codes, then the best ${run.options.shortlist} by all dimensions`, holds: (name) => name.endsWith(" + rerank") },
  { label: "codes, then any rerank", holds: (name) => name.includes(" + ") },
];
const sizes = [...new Set(rows.map((row) => row.parameters.bytes))].sort((a, b) => a - b);

function rowsInView() {
  const size = sizes[byId("size").selectedIndex - 1], kind = choice(KINDS, "kind");
  return rows.filter((row) => kind.holds(row.method) && (size === undefined || row.parameters.bytes === size));
}

function card(title, headline, text) {
  const box = html("div", { class: "card" }, byId("headlines"));
  html("h3", {}, box, title);
  html("b", {}, box, headline);
  html("span", {}, box, text);
}

function drawHeadlines() {
  const points = (difference) => `${difference < 0 ? "−" : "+"}${fixed(Math.abs(100 * difference), 2)} points`;
  const against = run.summary.against_rigid.find((one) => one.bytes === 16 && one.rigid_bytes > 16);
  if (against)
    card(`${against.bytes} bytes of a prefix against ${against.rigid_bytes} bytes of ${against.rigid.split(", the ").pop().split(", ").pop()}: top-1`,
      points(against.difference), `${against.ours}: ${percent(against.top1)} %; ${against.rigid}: ${percent(against.rigid_top1)} %.`);
  const recalls = run.summary.same_rerank.find((one) => one.bytes === 16) || run.summary.same_rerank[0];
  if (recalls)
    card(`${recalls.bytes} bytes, best recall@10 with the same rerank`, recalls.our_recall.toFixed(4),
      `${recalls.ours}; FAISS's best, ${recalls.peer}: ${recalls.peer_recall.toFixed(4)}.`);
  const batches = run.summary.equal_recall.filter((one) => one.cost === "batch_us");
  if (batches.length) {
    const ratios = batches.map((one) => one.ratio);
    card(`Queries per second at equal recall@10, batch on ${threads}`, `${times(Math.min(...ratios))} to ${times(Math.max(...ratios))}`,
      "FAISS's best, over all sizes and recalls, with the same rerank.");
  }
  const builds = run.summary.opq_at_equal_distortion.filter((one) => one.reached);
  if (builds.length) {
    const ratios = builds.map((one) => one.peer_seconds / one.our_seconds);
    card("Learning an OPQ code of at most FAISS's distortion", `${times(Math.min(...ratios))} to ${times(Math.max(...ratios))} faster`,
      `for ${builds.length} of ${run.summary.opq_at_equal_distortion.length} shapes.`);
  }
}

function table(parent, columns) {
  const made = html("table", {}, html("div", { class: "scroll" }, parent));
  const head = html("tr", {}, html("thead", {}, made));
  for (const column of columns) html("th", {}, head, column);
  return html("tbody", {}, made);
}

function explained(cell, text) {
  cell.addEventListener("pointerenter", (event) => showTip(event, text));
  cell.addEventListener("pointerleave", hideTip);
}

function drawByBytes() {
  const kinds = [["alone", "codes alone"], ["reranked", `the best ${run.options.shortlist} ranked by all dimensions`]];
  for (const quality of QUALITIES) {
    const pair = html("div", { class: "pair" }, byId("by-bytes"));
    for (const [kind, words] of kinds) {
      const best = run.summary.best[kind].filter((row) => row[quality.field] !== null);
      if (!best.length) continue;
      const side = html("div", {}, pair);
      html("h3", {}, side, `${quality.label}, ${words}`);
      const body = table(side, ["", ...sizes.map((size) => `${size} bytes`)]);
      for (const name of methods.filter((method) => best.some((row) => row.method === method))) {
        const line = html("tr", {}, body);
        html("td", {}, line, name);
        for (const size of sizes) {
          const column = best.filter((row) => row.bytes === size), row = column.find((one) => one.method === name);
          const wins = row && row[quality.field] === Math.max(...column.map((one) => one[quality.field]));
          const shown = row ? fixed(row[quality.field] * quality.factor, quality.factor === 1 ? 4 : 2) : "–";
          const ours = wins && name.startsWith("adanns") ? "ours" : "";
          const cell = html("td", { class: `${wins ? "best" : ""} ${ours}` }, line, shown);
          if (row) explained(cell, `${name}\n${settings(row.parameters[quality.field])}`);
        }
      }
    }
  }
}

function drawEqual() {
  const targets = run.summary.equal_recall;
  byId("equal").hidden = !targets.length;
  for (const [cost, words] of [["batch_us", `batch on ${threads}`], ["latency_p50_us", "one query at a time, median"]]) {
    html("h3", {}, byId("equal"), `${words}: µs per query`);
    const body = table(byId("equal"), ["bytes", "recall@10", "ours", "FAISS", "times faster", "by cascades"]);
    for (const one of targets.filter((row) => row.cost === cost)) {
      const line = html("tr", {}, body);
      html("td", {}, line, String(one.bytes));
      html("td", {}, line, `≥ ${one.target.toFixed(3)}${one.is_peers_best ? " (FAISS's best)" : ""}`);
      explained(html("td", {}, line, number(one.our_us)), `${one.our_method}\n${settings(one.our_parameters)}`);
      explained(html("td", {}, line, number(one.peer_us)), `${one.peer_method}\n${settings(one.peer_parameters)}`);
      html("td", { class: "best" }, line, times(one.ratio));
      html("td", {}, line, one.cascade_ratio === null ? "–" : times(one.cascade_ratio));
    }
  }
}

function drawBuilds() {
  const builds = run.summary.opq_builds;
  byId("builds").hidden = !builds.length;
  const body = table(byId("builds"), ["dims, bytes", "by", "turns of the rotation", "seconds", "distortion"]);
  for (const build of builds) {
    const line = html("tr", {}, body);
    for (const text of [`${build.dims}, ${build.bytes}`, build.who, String(build.rotations), number(build.seconds), build.distortion.toFixed(4)])
      html("td", {}, line, text);
  }
}

for (const label of ["all sizes", ...sizes.map((size) => `${size} bytes`)]) html("option", {}, byId("size"), label);
for (const kind of KINDS) html("option", {}, byId("kind"), kind.label);
byId("size").selectedIndex = Math.min(2, sizes.length);
byId("kind").selectedIndex = rows.some((row) => KINDS[1].holds(row.method)) ? 1 : 0;
drawHeadlines();
startExplorer("size", "kind");
drawByBytes();
drawEqual();
drawBuilds();
drawPublished();
