/* What runs, and asking the gateway. */
let token = sessionStorage.getItem("token") || "", after = 0, kept = [], running = [], shape = "", typed, book, link = null;
const rows = new Map(), windows = new Map();

function runningRow(item) {
  const row = make("li", null, "run"), model = make("span", "", "name");
  const what = make("span", "", "what"), more = make("span", "", "mute"), time = make("time"), bar = make("progress");
  bar.setAttribute("aria-label", "prompt read");
  row.append(model, " ", what, " ", bar, " ", time, " ", more);
  rows.set(item.request_id, { model, what, more, time, bar });
  return row;
}

function update(item) {
  const { model, what, more, time, bar } = rows.get(item.request_id);
  const asked = item.target && item.target !== item.model_asked ? `${item.model_asked} → ${item.target}` : item.model_asked;
  const texts = [[model, asked], [what, item.state], [more, aside(item)]];
  for (const [place, text] of texts.map(([place, text]) => [place, plain(text)])) if (place.textContent !== text) place.textContent = text;
  time.textContent = elapsed(item.seconds);
  what.title = item.client;
  bar.hidden = item.phase !== "reading";
  if (!bar.hidden) { bar.max = item.of; bar.value = item.read; }
}

/* How much of the window the prompt takes, and when the first word came. */
function aside(item) {
  const window = windows.get(item.target), first = item.first_content_seconds;
  const prompt = item.of ? number.format(item.of) : item.prompt && `about ${number.format(item.prompt)}`;
  const parts = [prompt && `prompt ${prompt}${window ? ` of ${number.format(window)}` : ""} tokens`, first != null && `first word ${seconds(first)}`];
  return parts.filter(Boolean).join(", ");
}

function spent(conversation) {
  const ended = conversation.session ? kept.filter(item => keyOf(item) === conversation.key) : [];
  const known = ended.filter(item => item.dollars != null);
  const sum = cost(known.reduce((all, item) => all + item.dollars, 0), ended.length - known.length, ended.length);
  return sum && `cost so far ${sum}`;
}

function showRunning() {
  const items = matching(running), now = JSON.stringify([running.length, kept.length && kept.at(-1).number, ...items.map(item => [item.request_id, item.agent_id])]);
  if (now !== shape) {
    shape = now;
    rows.clear();
    $("running").replaceChildren(...conversations(items).map(one => {
      const row = line("li", make("span", title(one), "name"), make("span", `of ${one.caller}`, "mute"), make("span", spent(one), "mute"));
      row.append(branch(one, "", runningRow));
      return row;
    }));
    $("said").textContent = running.length ? count(running.length, "request") + " running" : "";
    document.title = running.length ? `(${running.length}) Plugway` : "Plugway";
  }
  items.forEach(update);
  $("idle").hidden = items.length > 0;
  $("idle").textContent = running.length ? `${count(running.length, "request")} running; none fits the filter.` : "Nothing runs.";
}

async function ask(path) {
  const headers = { authorization: `Bearer ${token}`, "anthropic-version": "2023-06-01" };
  const answer = await fetch(path, { headers, credentials: "omit" }).catch(() => { throw new Error("The gateway does not answer. It is asked again every 3 seconds."); });
  if (answer.status === 401 || answer.status === 429) throw new Error("This is not the gateway's token.");
  if (!answer.ok) throw await refusal(answer, path);
  return answer.json();
}

async function refusal(answer, path) {
  const said = await answer.json().then(body => body.error?.message, () => null);
  return Object.assign(new Error(said || `The gateway answered ${answer.status} to ${path}.`), { status: answer.status });
}

async function look() {
  const begins = book === undefined, fresh = [];
  let news, at = after;
  do {
    news = await ask(`/dashboard/exchanges?after=${at}&limit=500`);
    if (!begins && (news.book !== book || news.last < at)) {  /* the gateway was restarted */
      book = news.book;
      after = 0;
      kept = [];
      forget();
      showKept();
      return look();
    }
    at = news.last;
    fresh.push(...news.exchanges);
  } while (news.more);
  const state = await ask("/health");
  book = news.book;
  after = at;
  historyDays = news.history_days;
  mayAsk = !news.limited;
  $("advice").hidden = news.limited;
  running = news.running.map(item => ({ ...item, text: "" }));
  if (begins && historyDays != null) findSoon();
  if (fresh.length || begins) { kept = kept.concat(fresh).slice(-5000); showKept(); prepare(); }
  showRunning();
  if (historyDays != null && fresh.length && Date.now() - totalsAt > 5000) findTotals();
  lookAtState();
  lookAtTrials(JSON.stringify([book, state.plugins]));
  $("state").textContent = news.limited ? "the requests of this token" : gateway(state);
}

/* Make the texts that the filter searches, a few at a time, so that the first key is not slow. */
function prepare(from = 0) {
  const items = kept;
  for (const item of items.slice(from, from + 250)) item.text ||= haystack(item);
  if (items.length > from + 250) setTimeout(() => { if (items === kept) prepare(from + 250); }, 10);
}

function gateway(state) {
  const disabled = state.quarantined.length ? `, disabled after failures: ${state.quarantined.join(", ")}` : "";
  return `up ${Math.floor(state.uptime_seconds / 60)} min, ${state.active} in flight, plugins: ${state.plugins.join(", ")}${disabled}`;
}

async function models() {
  const found = (await ask("/v1/models?limit=1000")).data.map(model => {
    const row = make("tr");
    windows.set(model.id.replace(/^anthropic\//, ""), model.max_input_tokens);
    row.append(make("td", model.id), make("td", model.max_input_tokens ? number.format(model.max_input_tokens) : "", "n"));
    return row;
  });
  $("models").tBodies[0].replaceChildren(...found);
  $("names").replaceChildren(...found.map(row => { const one = make("option"); one.value = row.cells[0].textContent; return one; }));
}

function advised(found) {
  const said = item => [`${item.title}, ${item.quantization}, ${number.format(item.context)} tokens, with ${item.backend}`,
    `  ${item.sum}`, ...item.notes.map(note => `  ${note}`), ...item.here.map(here => `  here already: ${here.name} (${here.owner})`),
    item.command && `  ${item.command}`];
  const lines = found.recommended ? said(found.recommended)
    : ["Nothing that is useful for Claude Code fits.", found.smallest && `${found.smallest.title}: ${found.smallest.sum}`,
       ...(found.runs ? ["For small chats:", ...said(found.runs)] : [])];
  return [...lines, "`plugway models recommend` shows more."].filter(Boolean).join("\n");
}

$("advice").ontoggle = async () => {
  if (!$("advice").open) return;
  const text = $("advice").querySelector("pre");
  try { text.textContent = advised(await ask("/dashboard/advice")); } catch (error) { text.textContent = error.message; }
};

async function run() {
  try {
    await look();
    if (!$("models").tBodies[0].rows.length) await models();
    if ($("main").hidden && location.hash === "#advice") $("advice").open = true;
    sessionStorage.setItem("token", token);
    $("door").hidden = $("problem").hidden = true;
    $("main").hidden = $("search").hidden = false;
    if (link) { const id = link; link = null; await reveal(id); }
    setTimeout(run, document.hidden ? 5000 : 1000);
  } catch (error) {
    $("problem").textContent = error.message;
    $("problem").hidden = !token;
    $("door").hidden = error.message !== "This is not the gateway's token." && token !== "";
    if (token && $("door").hidden) setTimeout(run, 3000);
  }
}

/* Another token may be of somebody else, who sees nothing of what this page has had before. */
function begin() {
  book = historyDays = totals = undefined;
  after = 0;
  kept = [];
  mayAsk = false;
  forget();
  forgetTrials();
  $("main").hidden = $("search").hidden = $("backends").hidden = true;
  $("models").tBodies[0].replaceChildren();
  $("advice").querySelector("pre").textContent = "Measuring…";
  $("advice").open = false;
  $("planned").hidden = true;
}

function filtered() {
  shown = STEP;
  findSoon();
  showRunning();
  showKept();
}

function linked() {
  const found = parsed(location.hash);
  if (location.hash === "#advice" && !$("main").hidden) $("advice").open = true;
  const changed = $("q").value !== (found.q || "") || $("failed").checked !== (found.failed === "1");
  $("q").value = found.q || "";
  $("failed").checked = found.failed === "1";
  link = found.r || null;
  if (changed) filtered();
}

$("q").oninput = () => {
  address();
  clearTimeout(typed);
  typed = setTimeout(filtered, 60);
};
$("failed").onchange = () => { address(); filtered(); };
$("kept").addEventListener("toggle", event => { if (event.target.querySelector(":scope > summary[data-request]")) address(); }, true);
$("search").onsubmit = event => event.preventDefault();
$("more").onclick = () => { shown += STEP; showKept(); };
$("door").onsubmit = event => {
  event.preventDefault();
  token = $("token").value.trim();
  $("token").value = "";
  begin();
  run();
};
window.onhashchange = linked;
linked();
if (token) run(); else $("door").hidden = false;
