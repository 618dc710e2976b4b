"use strict";
/* Small parts: elements, numbers, and conversations as trees. Texts are set as text only. */
const $ = id => document.getElementById(id);
const number = new Intl.NumberFormat("en");
const count = (value, noun) => `${number.format(value)} ${noun}${value === 1 ? "" : "s"}`;
const seconds = value => value == null ? "" : value < 10 ? value.toFixed(2) + " s" : value.toFixed(0) + " s";
const elapsed = value => value < 60 ? `${Math.floor(value)} s` : `${Math.floor(value / 60)} min ${Math.floor(value % 60)} s`;
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const calendar = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
function when(time) {
  const date = new Date(time * 1000), today = date.toDateString() === new Date().toDateString();
  return (today ? clock : calendar).format(date);
}
const short = text => (text || "").split("/").pop().slice(0, 8);

/* Text that others wrote: what would turn the rest of a line around is shown as a sign, and in one line what would break it, too. */
const plain = text => String(text).replace(/[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, "\ufffd");
const oneLine = text => plain(text).replace(/[\p{Cc}\p{Zl}\p{Zp}]/gu, "\ufffd");

function make(tag, text, kind) {
  const made = document.createElement(tag);
  if (text != null) made.textContent = plain(text);
  if (kind) made.className = kind;
  return made;
}

function line(tag, ...parts) {
  const made = make(tag);
  for (const part of parts) if (part) made.append(part, " ");
  return made;
}

/* What is open stays open when its part of the page is made again. */
const opened = new Set();

function folding(key, summary, fill, kind) {
  const made = make("details", null, kind);
  summary.dataset.key = key;
  made.append(summary);
  let filled = false;
  const show = () => { if (made.open && !filled) { filled = true; made.append(...fill()); } };
  made.open = opened.has(key);
  show();
  made.ontoggle = () => { if (made.open) opened.add(key); else opened.delete(key); show(); };
  return made;
}

function keepingFocus(change) {
  const key = document.activeElement?.dataset?.key;
  change();
  if (!key || document.activeElement?.dataset?.key === key) return;
  for (const one of document.querySelectorAll("[data-key]")) if (one.dataset.key === key) return one.focus();
}

/* Make `rows` the children of `list`; those that are there already stay. */
function arrange(list, rows) {
  const wanted = new Set(rows);
  for (const child of [...list.children]) if (!wanted.has(child)) child.remove();
  rows.forEach((row, at) => { if (list.children[at] !== row) list.insertBefore(row, list.children[at] || null); });
}

const keyOf = item => item.key ||= JSON.stringify([item.caller, item.session_id || item.request_id]);

/* Conversations in the order in which their items come; the agents of each by their ids. */
function conversations(items) {
  const found = new Map();
  for (const item of items) {
    const key = keyOf(item);
    if (!found.has(key)) found.set(key, { key, caller: item.caller, session: item.session_id, items: [], agents: new Map() });
    const one = found.get(key), id = item.agent_id || "";
    one.items.push(item);
    if (!one.agents.has(id)) one.agents.set(id, { id, parent: id ? item.parent_agent_id || "" : null, items: [] });
    one.agents.get(id).items.push(item);
  }
  return [...found.values()];
}

/* The list of an agent: its requests, and below each subagent its own. */
function branch(conversation, id, row, seen = new Set()) {
  seen.add(id);
  const list = make("ul"), agents = [...conversation.agents.values()];
  for (const item of conversation.agents.get(id)?.items || []) list.append(row(item));
  const below = agent => {
    if (seen.has(agent.id)) return;
    const inner = line("li", make("span", `subagent ${short(agent.id)}`, "name"));
    inner.append(branch(conversation, agent.id, row, seen));
    list.append(inner);
  };
  agents.filter(agent => agent.parent === id).forEach(below);
  if (id === "") {  /* then those whose parent is not shown, or is below themselves */
    agents.filter(agent => !conversation.agents.has(agent.parent)).forEach(below);
    agents.forEach(below);
  }
  return list;
}

function title(conversation) {
  return conversation.session ? `conversation ${short(conversation.session)}` : "request without a conversation";
}

/* Money: an unknown price is never shown as 0. */
const money = value => value == null ? "cost unknown" : value === 0 ? "$0" : value < 0.01 ? `$${value.toFixed(4)}` : `$${value.toFixed(2)}`;
function cost(sum, unknown, all) {
  if (unknown === all) return all ? "unknown" : "";
  return money(sum) + (unknown ? ` + ${number.format(unknown)} unknown` : "");
}

/* The filter: each word must occur somewhere, as `_search.searched` has it for the history. */
const days = new Intl.DateTimeFormat("en-CA", { dateStyle: "short" });
const day = item => item.day ||= days.format(item.ended * 1000);

function haystack(item) {
  const targets = item.route ? item.route.targets : [];
  const tries = item.attempts && item.attempts.map ? item.attempts : [];
  return [["model", item.model_asked], ["target", item.served_by], ["target", item.target], ["caller", item.caller],
    ["outcome", item.outcome], ["status", item.status], ["error", item.error], ["state", item.state],
    ["day", item.ended && day(item)], ["conversation", item.session_id], ["agent", item.agent_id], ["request", item.request_id],
    ["gateway", item.gateway],
    ...targets.map(target => ["target", target]), ...tries.flatMap(one => [["target", one.target], ["error", one.result]]),
    ...(item.verdicts || []).map(one => ["verdict", `${one.kind} ${one.tool}`])]
    .filter(([, value]) => value).map(([name, value]) => `${name}:${value}`).join("\n").toLowerCase();
}

/* The words of the filter; `today` and `yesterday` are days. All of them fit an address. */
function words() {
  const ago = new Map([["today", 0], ["yesterday", 1]]), now = new Date();
  const before = count => new Date(now.getFullYear(), now.getMonth(), now.getDate() - count);
  return $("q").value.toLowerCase().split(/\s+/).filter(Boolean).slice(0, 12)
    .map(word => ago.has(word) ? `day:${days.format(before(ago.get(word)))}` : [...word].slice(0, 50).join(""));
}

function matching(items) {
  const wanted = words(), failures = $("failed").checked;
  if (!wanted.length && !failures) return items;
  return items.filter(item => {
    if (failures && (!item.outcome || item.outcome === "completed")) return false;
    const text = item.text ||= haystack(item);
    return wanted.every(word => text.includes(word));
  });
}

/* Copying needs a page from this machine or over TLS; elsewhere the old way does. */
async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const field = make("textarea");
    field.value = text;
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
  did(`Copied ${what}.`);
}

/* What has just been done; only a failure is shown to those who see the page. */
function did(text, kind = "unseen") {
  $("did").textContent = text;
  $("did").className = kind;
}

function download(text, kind, name) {
  const link = make("a");
  link.href = URL.createObjectURL(new Blob([text], { type: kind }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function button(text, act) {
  const made = make("button", text);
  made.type = "button";
  made.onclick = () => act(made);
  return made;
}
