/* Keys, and the end of the address: what is filtered and what is open survives a reload. */
function address() {
  const open = [...document.querySelectorAll("#kept details[open] > summary[data-request]")].map(one => one.dataset.request);
  const parts = [$("q").value.trim() && `q=${encodeURIComponent($("q").value.trim())}`, $("failed").checked && "failed=1",
    open.length && `r=${encodeURIComponent(open.at(-1))}`].filter(Boolean);
  history.replaceState(null, "", parts.length ? `#${parts.join("&")}` : location.pathname);
}

function parsed(hash) {
  const found = {};
  for (const part of hash.slice(1).split("&")) {
    const [name, ...rest] = part.split("=");
    let value = rest.join("=");
    try { value = decodeURIComponent(value); } catch { /* as it is */ }
    if (["q", "failed", "r"].includes(name)) found[name] = value;
  }
  return found;
}

function move(by) {
  const rows = [...document.querySelectorAll("main summary")].filter(one => one.checkVisibility());
  const at = rows.indexOf(document.activeElement);
  const next = rows[at < 0 ? (by > 0 ? rows.findIndex(one => $("kept").contains(one)) : rows.length - 1) : at + by];
  if (next) { next.focus(); next.scrollIntoView({ block: "nearest" }); }
}

function escaped(event) {
  const open = event.target.closest?.("main details[open]");
  if (event.target !== $("q") && open) { open.open = false; open.querySelector("summary").focus(); }
  else if ($("q").value) { $("q").value = ""; $("q").oninput(); }
  else if (event.target === $("q")) $("q").blur();
  else return;
  event.preventDefault();
}

document.onkeydown = event => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("search").hidden || $("help").open) return;
  if (event.key === "Escape") return escaped(event);
  const inRow = event.target.matches("main summary");
  if (event.target.matches("input:not([type=checkbox]), textarea, select")) return;
  const request = event.target.closest?.("details")?.querySelector(":scope > summary")?.dataset.request;
  const acts = {
    "/": () => { $("q").focus(); $("q").select(); },
    "?": () => $("help").showModal(),
    f: () => $("failed").click(),
    j: () => move(1),
    k: () => move(-1),
    ArrowDown: inRow && (() => move(1)),
    ArrowUp: inRow && (() => move(-1)),
    c: request && (() => copy(receipt(kept.concat(older).find(one => one.request_id === request)), "the receipt")),
  };
  if (acts[event.key]) { event.preventDefault(); acts[event.key](); }
};
$("keys").onclick = () => $("help").showModal();
