/* Sums by model, caller and day: of what is kept, or of the whole history if there is one. */
let totals, totalsOf, totalsAt = 0;

function summed(items, name) {
  const sums = new Map();
  for (const item of items) {
    const key = name(item);
    const sum = sums.get(key) || { name: key, requests: 0, prompt: 0, cached: 0, output: 0, failed: 0, dollars: 0, unpriced: 0 };
    sums.set(key, sum);
    sum.requests += 1;
    sum.prompt += used(item);
    sum.cached += item.usage.cache_read;
    sum.output += item.usage.output;
    sum.failed += item.outcome !== "completed";
    sum.dollars += item.dollars || 0;
    sum.unpriced += item.dollars == null;
  }
  return [...sums.values()];
}

function showTotals(items) {
  const history = historyDays != null && totals && totalsOf === asking();
  const by = history ? totals : {
    model: summed(items, item => item.served_by || item.model_asked).sort((a, b) => b.prompt - a.prompt),
    caller: summed(items, item => item.caller).sort((a, b) => b.prompt - a.prompt),
    day: summed(items, day).sort((a, b) => a.name < b.name ? 1 : -1),
  };
  $("sums").textContent = history ? `Totals of the last ${count(historyDays, "day")}` : "Totals of what is kept";
  table($("by-model"), "model", by.model);
  table($("by-caller"), "caller", by.caller);
  table($("by-day"), "day", by.day);
  const missed = items.filter(item => item.cache && item.cache.miss), unknown = missed.filter(item => item.cache.dollars == null).length;
  const tokens = missed.reduce((all, item) => all + item.cache.missed, 0), price = missed.reduce((all, item) => all + (item.cache.dollars || 0), 0);
  $("misses").hidden = !missed.length;
  $("misses").textContent = `Prompt caches: ${number.format(missed.length)} of the requests above missed ${number.format(tokens)} tokens, cost ${cost(price, unknown, missed.length)}.`;
}

function table(made, name, sums) {
  const head = make("tr"), names = [name, "requests", "in", "cached", "out", "cost", "failed"];
  for (const word of names) {
    const cell = make("th", word, word === name ? "" : "n");
    cell.scope = "col";
    head.append(cell);
  }
  const rows = sums.map(sum => {
    const row = make("tr"), first = make("th", sum.name);
    first.scope = "row";
    row.append(first, ...[sum.requests, sum.prompt, sum.cached, sum.output].map(value => make("td", number.format(value), "n")));
    row.append(make("td", cost(sum.dollars, sum.unpriced, sum.requests), "n"));
    row.append(make("td", number.format(sum.failed), sum.failed ? "n bad" : "n"));
    return row;
  });
  made.hidden = !rows.length;
  made.tHead.replaceChildren(head);
  made.tBodies[0].replaceChildren(...rows);
}
