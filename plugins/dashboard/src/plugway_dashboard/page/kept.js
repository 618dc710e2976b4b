/* What ended: conversations, receipts and totals. */
const STEP = 60, MOST_ROWS = 200;
const days = new Intl.DateTimeFormat("en-CA", { dateStyle: "short" });
let shown = STEP, first = true, made = new Map();  /* the rows, which are made again only if they change */

function receipt(item) {
  const lines = (item.receipt || []).map(e => `${e.stage}  ${e.plugin}: ${e.what}`);
  const tries = (item.attempts || []).map(a => `attempt  ${a.target}: ${a.result} (${a.ms} ms)`);
  const head = [`request ${item.request_id} of ${item.caller}${item.client ? `, from ${item.client}` : ""}`,
    item.route && `route  ${item.route.reason}`, item.error];
  const cache = item.cache && item.cache.why && `cache  ${item.cache.line}`;
  return [...head, ...tries, ...lines, cache].filter(Boolean).join("\n");
}

const used = item => item.usage.input + item.usage.cache_read + item.usage.cache_creation;

function keptRow(item) {
  const good = item.outcome === "completed", missed = item.cache && item.cache.miss;
  const served = item.served_by || (good ? "Plugway itself" : "no backend");
  const summary = line("summary",
    make("span", when(item.ended), "mute"),
    make("span", `${item.status} ${item.outcome}`, good ? "good" : "bad"),
    !item.session_id && make("span", item.caller),
    make("span", item.model_asked === served ? served : `${item.model_asked} → ${served}`),
    make("span", `${seconds(item.seconds)}${item.first_content_seconds == null ? "" : `, first word ${seconds(item.first_content_seconds)}`}`),
    make("span", `${number.format(used(item))} in (${number.format(item.usage.cache_read)} cached), ${number.format(item.usage.output)} out`, "mute"),
    missed && make("span", `missed ${number.format(item.cache.missed)}`, "bad"));
  const row = make("li");
  row.append(folding(`r ${item.request_id}`, summary, () => [make("pre", receipt(item))]));
  if (!good && item.error) row.append(make("p", item.error, "bad said"));
  return row;
}

function keptConversation(one) {
  if (!one.session) return keptRow(one.items[0]);
  const sum = of => number.format(one.items.reduce((all, item) => all + of(item), 0));
  const last = one.items[0], failed = one.items.filter(item => item.outcome !== "completed").length;
  const models = [...new Set(one.items.map(item => item.served_by || item.model_asked))];
  const agents = one.agents.size - one.agents.has("");
  const summary = line("summary",
    make("span", title(one), "name"), make("span", one.caller),
    make("span", when(last.ended), "mute"),
    make("span", count(one.items.length, "request") + (agents ? ` with ${count(agents, "subagent")}` : "")),
    make("span", models.slice(0, 3).join(", ") + (models.length > 3 ? ` and ${models.length - 3} more` : ""), "mute"),
    make("span", `${sum(used)} in (${sum(item => item.usage.cache_read)} cached), ${sum(item => item.usage.output)} out`, "mute"),
    failed > 0 && make("span", `${number.format(failed)} failed`, "bad"));
  const rest = one.items.length - MOST_ROWS;
  const newest = rest > 0 ? conversations(one.items.slice(0, MOST_ROWS))[0] : one;
  const fill = () => [branch(newest, "", keptRow), ...(rest > 0 ? [make("p", `${count(rest, "older request")}: use the filter.`, "mute")] : [])];
  const row = make("li", null, "conversation");
  row.append(folding(`c ${one.key}`, summary, fill));
  return row;
}

function showKept(all) {
  const items = matching(all), found = conversations(items.toReversed ? items.toReversed() : [...items].reverse());
  const newest = first && found.find(one => one.session);
  if (newest) { opened.add(`c ${newest.key}`); first = false; }
  const before = made;
  made = new Map();
  const rows = found.slice(0, shown).map(one => {
    const sign = [one.items.length, one.items[0].request_id, one.items.at(-1).request_id].join(), old = before.get(one.key);
    const row = old && old.sign === sign ? old.row : keptConversation(one);
    made.set(one.key, { sign, row });
    return row;
  });
  keepingFocus(() => arrange($("kept"), rows));
  $("none").hidden = found.length > 0;
  $("none").textContent = all.length ? "None of those that are kept fits the filter." : "None yet.";
  $("more").hidden = found.length <= shown;
  $("past").textContent = found.length ? `Conversations (${number.format(found.length)})` : "Conversations";
  totals($("by-model"), "model", items, item => item.served_by || item.model_asked);
  totals($("by-day"), "day", items, item => item.day ||= days.format(item.ended * 1000));
}

function totals(table, name, items, of) {
  const sums = new Map();
  for (const item of items) {
    const key = of(item), sum = sums.get(key) || [0, 0, 0, 0, 0];
    sums.set(key, sum);
    [1, used(item), item.usage.cache_read, item.usage.output, item.outcome === "completed" ? 0 : 1].forEach((value, at) => { sum[at] += value; });
  }
  const head = make("tr");
  for (const word of [name, "requests", "in", "cached", "out", "failed"]) {
    const cell = make("th", word, word === name ? "" : "n");
    cell.scope = "col";
    head.append(cell);
  }
  const rows = [...sums].sort((a, b) => name === "day" ? (a[0] < b[0] ? 1 : -1) : b[1][0] - a[1][0]).map(([key, sum]) => {
    const row = make("tr"), first = make("th", key);
    first.scope = "row";
    row.append(first, ...sum.map((value, at) => make("td", number.format(value), at === 4 && value ? "n bad" : "n")));
    return row;
  });
  table.hidden = !rows.length;
  table.tHead.replaceChildren(head);
  table.tBodies[0].replaceChildren(...rows);
}
