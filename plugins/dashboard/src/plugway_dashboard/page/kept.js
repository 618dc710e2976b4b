/* What ended: conversations and receipts. */
const STEP = 60, MOST_ROWS = 100;
let shown = STEP, first = true, made = new Map();  /* the rows, which are made again only if they change */

/* An entry of a receipt as a sentence, as `_words.sentence` has it for the terminal. */
const PAST = { set: "set", add: "added", remove: "removed", drop: "dropped", emulate: "emulated" };

function sentence(entry) {
  const [, action, field, because] = /^(set|add|remove|drop|emulate) (header:\S+|\S+?): (.+)$/s.exec(entry.what) || [];
  return action ? `${entry.plugin} ${PAST[action]} ${field}: ${because}.` : `${entry.plugin}: ${entry.what}.`;
}

function receipt(item) {
  const judged = (item.verdicts || []).map(one => `The call of ${one.tool} was ${one.kind}: ${one.reason}.`);
  const lines = (item.receipt || []).filter(e => !(judged.length && e.stage === "safeguards") && e.what !== item.route?.reason).map(sentence);
  const tries = (item.attempts || []).map(a => a.result === "answered" ? `${a.target} answered after ${a.ms} ms.` : `${a.target} failed after ${a.ms} ms: ${a.result}.`);
  const head = [`Request ${item.request_id} of ${item.caller}${item.client ? `, sent by ${item.client}` : ""}.`,
    `It ended at ${new Date(item.ended * 1000).toISOString()}: ${item.status} ${item.outcome}, ${item.model_asked} → ${item.served_by || "no backend"}.`,
    item.gateway && `It was served by the gateway ${item.gateway}.`, item.error && `Its error: ${item.error}.`, item.route && `Its target was chosen because of: ${item.route.reason}.`];
  const cache = item.cache && item.cache.why && `Prompt cache: ${item.cache.line}.`;
  return [...head, ...tries, ...judged, ...lines, cache, `Cost: ${item.dollars == null ? "unknown" : money(item.dollars)}.`]
    .filter(Boolean).map(text => oneLine(text).replace(/([.!?])\.$/, "$1")).join("\n");
}

const used = item => item.usage.input + item.usage.cache_read + item.usage.cache_creation;
const judgedAs = (items, kind) => items.reduce((sum, item) => sum + (item.verdicts || []).filter(one => one.kind === kind).length, 0);

function verdicts(items) {
  const denied = judgedAs(items, "denied"), open = judgedAs(items, "undecided");
  return [denied > 0 && make("span", `${count(denied, "call")} denied`, "bad"),
    open > 0 && make("span", `${count(open, "call")} without a verdict`, "mute")];
}

/* The row of a request stays the same element, wherever its conversation is made again. */
const rowOf = new WeakMap();

function keptRow(item) {
  if (!rowOf.has(item)) rowOf.set(item, newRow(item));
  return rowOf.get(item);
}

function newRow(item) {
  const good = item.outcome === "completed", missed = item.cache && item.cache.miss;
  const served = item.served_by || (good ? "Plugway itself" : "no backend");
  const price = missed && item.cache.dollars != null ? ` (${money(item.cache.dollars)})` : "";
  const summary = line("summary",
    make("span", when(item.ended), "mute"),
    make("span", `${item.status} ${item.outcome}`, good ? "good" : "bad"),
    !item.session_id && make("span", item.caller),
    make("span", item.model_asked === served ? served : `${item.model_asked} → ${served}`),
    make("span", `${seconds(item.seconds)}${item.first_content_seconds == null ? "" : `, first word ${seconds(item.first_content_seconds)}`}`),
    make("span", `${number.format(used(item))} in (${number.format(item.usage.cache_read)} cached), ${number.format(item.usage.output)} out`, "mute"),
    make("span", money(item.dollars), item.dollars == null ? "mute" : ""),
    missed && make("span", `missed ${number.format(item.cache.missed)} cached${item.cache.cause ? `: ${item.cache.cause}` : ""}${price}`, "bad"),
    ...verdicts([item]));
  const row = make("li");
  const fill = () => {
    const answer = make("pre", null, "answer"), buttons = make("p", null, "buttons");
    answer.hidden = true;
    buttons.append(button("Copy the receipt", () => copy(receipt(item), "the receipt")),
      button("Copy a link", () => copy(`${location.origin}/#r=${encodeURIComponent(item.request_id)}`, "a link to this request")),
      button("Where would it go now?", () => plan(`request=${encodeURIComponent(item.request_id)}`, answer)));
    return [make("pre", receipt(item)), buttons, answer];
  };
  const fold = folding(`r ${item.request_id}`, summary, fill);
  summary.dataset.request = item.request_id;
  row.append(fold);
  if (!good && item.error) row.append(make("p", item.error, "bad said"));
  return row;
}

function keptConversation(one) {
  if (!one.session) return keptRow(one.items[0]);
  const sum = of => number.format(one.items.reduce((all, item) => all + of(item), 0));
  const last = one.items[0], failed = one.items.filter(item => item.outcome !== "completed").length;
  const models = [...new Set(one.items.map(item => item.served_by || item.model_asked))];
  const agents = one.agents.size - one.agents.has("");
  const known = one.items.filter(item => item.dollars != null);
  const summary = line("summary",
    make("span", title(one), "name"), make("span", one.caller),
    make("span", when(last.ended), "mute"),
    make("span", count(one.items.length, "request") + (agents ? ` with ${count(agents, "subagent")}` : "")),
    make("span", models.slice(0, 3).join(", ") + (models.length > 3 ? ` and ${models.length - 3} more` : ""), "mute"),
    make("span", `${sum(used)} in (${sum(item => item.usage.cache_read)} cached), ${sum(item => item.usage.output)} out`, "mute"),
    make("span", `cost ${cost(known.reduce((all, item) => all + item.dollars, 0), one.items.length - known.length, one.items.length)}`),
    failed > 0 && make("span", `${number.format(failed)} failed`, "bad"), ...verdicts(one.items));
  const rest = one.items.length - MOST_ROWS;
  const newest = rest > 0 ? conversations(one.items.slice(0, MOST_ROWS))[0] : one;
  const fill = () => [branch(newest, "", keptRow), ...(rest > 0 ? [make("p", `${count(rest, "older request")}: use the filter.`, "mute")] : [])];
  const row = make("li", null, "conversation");
  row.append(folding(`c ${one.key}`, summary, fill));
  return row;
}

/* What fits the filter, the newest first: what is kept in memory and what was found in the history, also of other gateways. */
function listed() {
  return [...matching(kept)].reverse().concat(older).sort((a, b) => b.ended - a.ended);
}

function showKept() {
  const items = listed(), found = conversations(items);
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
  $("none").textContent = kept.length ? "None of those that are kept fits the filter." : "None yet.";
  $("more").hidden = found.length <= shown;
  $("past").textContent = found.length ? `Conversations (${number.format(found.length)}${olderLeft ? " and older ones" : ""})` : "Conversations";
  showTotals(items);
}

/* Export: what fits the filter. */
const COLUMNS = ["ended", "request_id", "caller", "session_id", "agent_id", "model_asked", "served_by", "outcome", "status", "error",
  "seconds", "first_content_seconds", "input", "cache_read", "cache_creation", "output", "dollars"];

function cell(value) {
  const text = value == null ? "" : String(value);
  const harmless = typeof value !== "number" && /^[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/.test(text) ? `'${text}` : text;  /* spreadsheets run formulas */
  return /[",\n\r]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless;
}

function csv(items) {
  const rows = items.map(item => ({ ...item, ...item.usage, ended: new Date(item.ended * 1000).toISOString() }));
  return [COLUMNS.join(","), ...rows.map(row => COLUMNS.map(name => cell(row[name])).join(","))].join("\r\n") + "\r\n";
}

$("as-json").onclick = () => {
  const items = listed().map(({ text, key, day, ...item }) => item);
  download(JSON.stringify(items, null, 1), "application/json", "exchanges.json");
};
$("as-csv").onclick = () => download(csv(listed()), "text/csv", "exchanges.csv");
