/* The history over restarts: what fits the filter, page by page, and its totals. */
let historyDays = null, older = [], olderLeft = false, olderAt = null, olderOf = null, asked = 0, looking;

const asking = () => `q=${encodeURIComponent(words().join(" "))}&failed=${$("failed").checked ? 1 : 0}`;

function forget() {
  older = [];
  olderLeft = false;
  olderAt = olderOf = null;
}

/* The next page of what fits; pages with nothing but what is in memory are passed over. */
async function findOlder() {
  const query = asking(), mine = ++asked, have = new Set(kept.concat(older).map(item => item.request_id));
  if (olderOf !== query) forget();
  olderOf = query;
  try {
    for (let rows = []; !rows.length;) {
      const found = await ask(`/dashboard/history?${query}&limit=200${olderAt == null ? "" : `&before=${olderAt}`}`);
      if (mine !== asked || query !== asking()) return;
      if (found.problem) throw new Error(found.problem);
      rows = found.exchanges.filter(item => !have.has(item.request_id));
      older = older.concat(rows);
      olderLeft = found.more;
      if (found.exchanges.length) olderAt = found.exchanges.at(-1).row;
      if (!olderLeft) break;
    }
    $("older").hidden = !olderLeft;
    const searched = words().length || $("failed").checked;
    $("reach").textContent = searched || !olderLeft ? `${searched ? "Searched" : "These are all of"} the last ${count(historyDays, "day")}.` : "";
    showKept();
  } catch (error) { $("reach").textContent = error.message; }
}

async function findTotals() {
  const query = asking();
  totalsAt = Date.now();
  try {
    const found = await ask(`/dashboard/history?totals&${query}`);
    if (query !== asking() || !found.model) return;
    totals = found;
    totalsOf = query;
    showTotals(listed());
  } catch { totals = undefined; }
}

/* The filter has changed: only a filter searches by itself, the rest is a click away. */
function findSoon() {
  forget();
  clearTimeout(looking);
  if (historyDays == null) return;
  const searches = words().length > 0 || $("failed").checked;
  $("older").hidden = searches;
  $("reach").textContent = searches ? "Searching the history…" : `The history has the last ${count(historyDays, "day")}.`;
  looking = setTimeout(() => { findTotals(); if (searches) findOlder(); }, 250);
}

$("older").onclick = findOlder;

/* Open the request of a link, wherever it is. */
async function reveal(id) {
  let item = kept.concat(older).find(one => one.request_id === id);
  if (!item && historyDays != null) {
    const found = await ask(`/dashboard/history?q=${encodeURIComponent(`request:${id.slice(0, 100)}`)}&limit=1`);
    item = found.exchanges.find(one => one.request_id === id);
    if (item) older = [item, ...older];
  }
  if (!item) return did("That request is not kept any more.", "bad");
  const all = conversations(listed()), at = all.findIndex(one => one.items.includes(item));
  if (at < 0) return;
  shown = Math.max(shown, at + 1);
  opened.add(`c ${all[at].key}`);
  opened.add(`r ${id}`);
  made.delete(all[at].key);
  showKept();
  const row = [...document.querySelectorAll("summary[data-request]")].find(one => one.dataset.request === id);
  if (row) { row.focus(); row.scrollIntoView({ block: "center" }); }
}
