/* Backends, the memory, and what would happen to a request. */
let stateAt = 0, mayAsk = false;
const size = bytes => bytes >= 2 ** 30 ? `${(bytes / 2 ** 30).toFixed(1)} GiB` : `${Math.round(bytes / 2 ** 20)} MiB`;

async function lookAtState() {
  if (!mayAsk || Date.now() - stateAt < 5000) return;
  stateAt = Date.now();
  try { showState(await ask("/dashboard/state")); } catch { $("backends").hidden = true; }
}

function showState(found) {
  const sick = found.health.map(one => line("li",
    make("span", one.target, "name"),
    make("span", one.state === "skipped" ? `skipped for ${Math.ceil(one.seconds)} s` : one.state === "probing" ? "being tried again" : "failing", "bad"),
    make("span", one.reason, "mute")));
  const problems = found.problems.map(text => make("li", text, "bad"));
  $("health").replaceChildren(...sick, ...problems);
  const rows = found.models.map(one => {
    const row = make("tr"), name = make("th", one.model);
    name.scope = "row";
    const idle = one.requests ? `serves ${count(one.requests, "request")}` : one.idle_seconds == null ? "" : `idle for ${elapsed(one.idle_seconds)}`;
    const state = [one.state, idle, one.context && `window ${number.format(one.context)}`, one.kept, one.problem].filter(Boolean).join(", ");
    row.append(name, make("td", state, one.problem ? "bad" : ""), make("td", one.size ? size(one.size) : "unknown", "n"));
    return row;
  });
  $("loaded").hidden = !rows.length;
  $("loaded").tBodies[0].replaceChildren(...rows);
  const memory = found.memory;
  $("memory").textContent = memory ? `${size(memory.available)} of ${size(memory.total)} free; ${size(memory.reserve)} stay free for other programs.` : "";
  $("decisions").hidden = !found.decisions.length;
  $("decisions").querySelector("pre").textContent = [...found.decisions].reverse().map(one => `${elapsed(one.age_seconds)} ago  ${one.what}`).join("\n");
  $("backends").hidden = !(sick.length || problems.length || rows.length || memory);
}

function plannedText(found) {
  if (found.error) return `A request for ${found.model} would be rejected: ${found.error}`;
  const tries = found.attempts.map((one, at) => `${at ? "then" : "goes to"} ${one.target} (zone ${one.zone})`);
  return [`A request for ${found.model} ${tries.join(", ")}`, `because ${found.reason}`, ...found.notes,
    "Nothing was sent. Rules about the text or the headers of a request are not considered."].join("\n");
}

async function plan(query, place) {
  place.hidden = false;
  try { place.textContent = plain(plannedText(await ask(`/dashboard/plan?${query}`))); } catch (error) { place.textContent = error.message; }
}

$("plan").onsubmit = event => {
  event.preventDefault();
  plan(`model=${encodeURIComponent($("asked").value.trim())}`, $("planned"));
};
