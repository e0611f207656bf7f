// Fills the page of a speedup run.
function drawHeadlines() {
  const find = (quality, cost, target) => run.summary.comparisons.find((one) =>
    one.quality === quality && one.cost === cost && one.ours && (target === undefined || one.target === target));
  const cards = [
    [find("recall10", "batch_us", 0.97), `Batch on ${threads}, recall@10 ≥ 0.97`],
    [find("recall10", "latency_p50_us", 0.97), "One query at a time, recall@10 ≥ 0.97"],
    [find("top1", "batch_us"), `Batch on ${threads}, top-1 within 0.1 point of exact search`],
  ];
  for (const [one, where] of cards) {
    if (!one) continue;
    const ours = one.rows.find((row) => row.method === one.ours);
    const card = html("div", { class: "card" }, byId("headlines"));
    html("h3", {}, card, where);
    html("b", {}, card, ours.against_exact ? `${times(ours.against_exact)} faster` : `${number(ours.us)} µs`);
    const versus = ours.against_exact ? ` against ${number(one.exact_us)} µs for exact search of all ${run.dataset.dims} dimensions` : "";
    html("span", {}, card, `${one.ours}: ${number(ours.us)} µs per query${versus}. `);
    if (one.peer) html("span", {}, card, `The peers' best, ${one.peer}: ${number(ours.us * one.ours_against_peer)} µs.`);
  }
  const rigid = (run.summary.against_rigid || []).find((one) => one.cost === "batch_us" && one.label !== "its best");
  if (!rigid) return;
  const card = html("div", { class: "card" }, byId("headlines"));
  html("h3", {}, card, `Batch on ${threads}, at the top-1 of IVF on the rigid twin (${rigid.label}: ${percent(rigid.top1)} %)`);
  html("b", {}, card, `${times(rigid.ratio)} faster`);
  html("span", {}, card, `${rigid.ours}: ${number(rigid.our_us)} µs per query; ${rigid.method}: ${number(rigid.rigid_us)} µs.`);
}

function drawEqual() {
  const groups = Map.groupBy
    ? Map.groupBy(run.summary.comparisons, (one) => `${one.cost} ${one.quality}`)
    : run.summary.comparisons.reduce((map, one) => {
        const key = `${one.cost} ${one.quality}`;
        return map.set(key, [...(map.get(key) || []), one]);
      }, new Map());
  for (const group of groups.values()) {
    const cost = group[0].cost === "batch_us" ? `batch on ${threads}` : "one query at a time, median";
    html("h3", {}, byId("equal"), `${group[0].quality === "top1" ? "top-1" : "recall@10"}, ${cost}: µs per query`);
    const table = html("table", {}, html("div", { class: "scroll" }, byId("equal")));
    const head = html("tr", {}, html("thead", {}, table));
    html("th", {}, head, "");
    for (const one of group) html("th", {}, head, `≥ ${one.label}`);
    const body = html("tbody", {}, table);
    for (const name of methods) {
      const line = html("tr", {}, body);
      html("td", {}, line, name);
      for (const one of group) {
        const row = one.rows.find((candidate) => candidate.method === name);
        const best = row && row.us === Math.min(...one.rows.map((candidate) => candidate.us));
        const text = row ? number(row.us) + (row.against_exact ? ` (${times(row.against_exact)})` : "") : "–";
        const cell = html("td", { class: `${best ? "best" : ""} ${best && row.family === "adanns" ? "ours" : ""}` }, line, text);
        if (row) {
          cell.addEventListener("pointerenter", (event) => showTip(event, `${name}\n${settings(row.parameters)}`));
          cell.addEventListener("pointerleave", hideTip);
        }
      }
    }
    if (!group.some((one) => one.ours_against_peer)) continue;
    const best = html("tr", { class: "ratio" }, body);
    html("td", {}, best, "our best over the peers' best");
    for (const one of group) html("td", {}, best, one.ours_against_peer ? times(one.ours_against_peer) : "–");
    for (const peer of methods.filter((name) => name.startsWith("FAISS"))) {
      const line = html("tr", { class: "quiet" }, body);
      html("td", {}, line, `our best over ${peer}`);
      for (const one of group) {
        const [ours, theirs] = [one.ours, peer].map((name) => one.rows.find((row) => row.method === name));
        html("td", {}, line, ours && theirs ? times(theirs.us / ours.us) : "–");
      }
    }
  }
}

const rowsInView = () => rows;

drawHeadlines();
startExplorer();
drawEqual();
drawPublished();
