/* Trying what other plugins offer: a form for each kind, one request at a time, and what came back. */
const trials = new Map(), busy = new Map(), urls = new Map();
let trialsOf;

/* Ask again when plugins may be others, and when a part is opened: engines are installed while the gateway runs. */
async function lookAtTrials(of = trialsOf, again = false) {
  if (of === trialsOf && !again) return;
  trialsOf = of;
  let found;
  try { found = (await ask("/dashboard/trials")).trials; } catch { trialsOf = undefined; return; }
  if (of !== trialsOf) return;
  trials.clear();
  for (const one of found) trials.set(one.kind, one);
  for (const part of document.querySelectorAll(".trial")) {
    const one = trials.get(part.id);
    part.hidden = !one;
    if (!one) continue;
    part.querySelector("form").hidden = one.problem !== "";
    if (one.problem) say(part, one.problem); else if (part.missing) say(part, "");
    part.missing = one.problem !== "";
    for (const [name, values] of Object.entries(one.choices)) fillSelect(part, name, values.map(value => [value, value]));
  }
  if (trials.has("speak")) $("speak-text").maxLength = trials.get("speak").max_size;
  $("trials").hidden = !trials.size;
}

function fillSelect(part, name, options) {
  const select = part.querySelector(`select[name=${name}]`);
  if (!select || JSON.stringify(options) === select.dataset.options) return;
  select.dataset.options = JSON.stringify(options);
  select.replaceChildren(...options.map(([value, text]) => Object.assign(make("option", text), { value })));
  select.parentElement.hidden = options.length < 2;
}

function forgetTrials() {
  for (const stop of busy.values()) stop();
  trialsOf = undefined;
  trials.clear();
  $("trials").hidden = true;
  for (const part of document.querySelectorAll(".trial")) {
    part.open = false;
    part.querySelector("form").reset();
    part.querySelector(".result").hidden = true;
    for (const one of part.querySelectorAll("pre, ol, .size, .result .buttons, svg, select")) { one.replaceChildren(); delete one.dataset.options; }
    say(part, "");
    freeUrls(part);
  }
}

function say(part, text, working = false) {
  part.problem.textContent = working ? "" : text;
  part.note.textContent = working ? text : "";
  if (working) did(text);
  part.status.hidden = !working;
}

/* Addresses of files in memory, until the part shows others. */
function urlOf(part, blob) {
  const url = URL.createObjectURL(blob);
  urls.set(part, [...(urls.get(part) || []), url]);
  return url;
}

function freeUrls(part) {
  for (const image of part.querySelectorAll("img")) image.remove();
  part.querySelector("audio")?.removeAttribute("src");
  for (const url of urls.get(part) || []) URL.revokeObjectURL(url);
  urls.delete(part);
}

/* Do the work of a part until it ends, fails, or is cancelled: by its button, or by another token. */
async function working(part, text, work) {
  if (busy.has(part)) return;
  const stop = new AbortController(), began = Date.now();
  const tick = setInterval(() => { part.time.textContent = elapsed((Date.now() - began) / 1000); }, 500);
  part.time.textContent = "";
  busy.set(part, () => stop.abort());
  say(part, text, true);
  let failure = "";
  try { await work(stop.signal); } catch (error) { failure = stop.signal.aborted ? "Cancelled." : error.message || error.name; }
  clearInterval(tick);
  busy.delete(part);
  if (part.contains(document.activeElement) && document.activeElement === part.cancel) part.querySelector("form button").focus();
  say(part, failure);
  if (!failure) did("Done.");
}

async function post(trial, body, signal) {
  const headers = { authorization: `Bearer ${token}` };
  if (!(body instanceof FormData)) headers["content-type"] = "application/json";
  const answer = await fetch(trial.path, { method: "POST", headers, body, signal, credentials: "omit" }).catch(error => {
    if (signal.aborted) throw error;
    throw new Error("The gateway does not answer.");
  });
  if (!answer.ok) throw await refusal(answer, trial.path);
  return answer;
}

/* A form with the chosen file, or with what was recorded, and the fields of the selects. */
async function filled(part, name, recorded) {
  const trial = trials.get(part.id), file = recorded || part.querySelector("input[type=file]").files[0];
  if (!file) throw new Error("Choose a file first.");
  if (file.size > trial.max_size) throw new Error(`The file has ${number.format(file.size)} bytes; at most ${number.format(trial.max_size)} are accepted.`);
  await file.arrayBuffer().catch(() => { throw new Error(`${file.name} cannot be read: it is a folder, or it was changed. Choose it again.`); });
  const form = new FormData();
  for (const select of part.querySelectorAll("select")) if (select.value) form.append(select.name, select.value);
  form.append(name, file, file.name || "recorded");
  return form;
}

function fresh(part) {
  freeUrls(part);
  const result = part.querySelector(".result");
  result.hidden = true;
  return result;
}

function buttons(result, ...made) { result.querySelector(".buttons").replaceChildren(...made); }

function picture(src, alt) { return Object.assign(make("img"), { src, alt }); }

function saveLink(text, url, name) { return Object.assign(make("a", text), { href: url, download: name }); }

function drawn(svg, tag, fields) {
  const made = document.createElementNS(svg.namespaceURI, tag);
  for (const [name, value] of Object.entries(fields)) made.setAttribute(name, value);
  svg.append(made);
  return made;
}

/* ── what each part does ── */

async function readPicture(part, signal) {
  const form = await filled(part, "file"), result = fresh(part);
  const found = await (await post(trials.get("read"), form, signal)).json();
  const svg = result.querySelector("svg");
  svg.style.display = found.pages ? "none" : "";  // of a PDF file there is no picture
  if (!found.pages) {
    svg.before(picture(urlOf(part, form.get("file")), "The picture, with a numbered box around each line"));
    svg.setAttribute("viewBox", `0 0 ${found.width} ${found.height}`);
  }
  svg.replaceChildren();
  const items = found.lines.map(({ text, box: [left, top, right, bottom] }, at) => {
    const box = drawn(svg, "rect", { x: left, y: top, width: right - left, height: bottom - top });
    drawn(svg, "text", { x: left - 2, y: bottom, "font-size": Math.min(24, bottom - top) }).textContent = at + 1;
    const item = Object.assign(make("li"), { textContent: text });
    item.onmouseenter = () => box.classList.add("here");
    item.onmouseleave = () => box.classList.remove("here");
    return item;
  });
  result.querySelector("ol").replaceChildren(...items);
  result.querySelector("pre").textContent = found.text || "No text was found.";
  buttons(result, button("Copy the text", () => copy(found.text, "the text")));
  if (found.left_out && !found.pages) result.querySelector("pre").append(`\n(${number.format(found.left_out)} further pieces were not read)`);
  result.hidden = false;
}

async function hearAudio(part, signal, recorded) {
  const form = await filled(part, "file", recorded), result = fresh(part), text = result.querySelector("pre");
  form.append("stream", "true");
  const answer = await post(trials.get("hear"), form, signal);
  text.textContent = "";
  buttons(result);
  result.querySelector("audio").src = urlOf(part, form.get("file"));
  result.hidden = false;
  for await (const event of eventsOf(answer.body)) {
    if (event.error) throw new Error(event.error.message);
    if (event.type === "transcript.text.delta") text.textContent += event.delta;
    if (event.type === "transcript.text.done") text.textContent = event.text || "Nothing was heard.";
  }
  buttons(result, button("Copy the text", () => copy(text.textContent, "the text")));
}

async function* eventsOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read().catch(error => { throw error.name === "AbortError" ? error : new Error("The connection to the gateway was lost."); });
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) if (block.startsWith("data: ")) yield JSON.parse(block.slice(6));
  }
}

async function speakText(part, signal) {
  const input = $("speak-text").value;
  if (!input.trim()) throw new Error("Write a text first.");
  const voice = part.querySelector("select").value, result = fresh(part);
  const body = JSON.stringify({ model: "tts-1", input, voice: voice || "alloy", response_format: "wav" });
  const answer = await post(trials.get("speak"), body, signal);
  const data = await answer.arrayBuffer().catch(error => { throw signal.aborted ? error : new Error("The connection to the gateway was lost."); });
  const url = urlOf(part, new Blob([withLength(data)], { type: "audio/wav" })), audio = result.querySelector("audio");
  audio.src = url;
  buttons(result, saveLink("Download", url, "speech.wav"));
  result.hidden = false;
  audio.play().catch(() => { /* the browser wants another click */ });
}

/* A streamed wav file does not know its length. */
function withLength(data) {
  const view = new DataView(data);
  if (data.byteLength >= 44) { view.setUint32(4, data.byteLength - 8, true); view.setUint32(40, data.byteLength - 44, true); }
  return data;
}

async function listVoices() {
  const trial = trials.get("speak");
  if (!trial || trial.problem) return;
  try {
    const { voices } = await ask(trial.voices);
    fillSelect($("speak"), "voice", [["", "default"], ...voices.map(one => [one.id, `${one.id} (${one.language})`])]);
  } catch (error) { say($("speak"), error.message); }
}

async function enlargePicture(part, signal) {
  const form = await filled(part, "image"), result = fresh(part);
  form.append("response_format", "image");
  const answer = await post(trials.get("enlarge"), form, signal);
  const blob = await answer.blob().catch(error => { throw signal.aborted ? error : new Error("The connection to the gateway was lost."); });
  const url = urlOf(part, blob), file = form.get("image");
  result.querySelector(".both").replaceChildren(picture(urlOf(part, file), "The picture before"), picture(url, "The enlarged picture"));
  compare(result);
  result.querySelector(".size").textContent = `${answer.headers.get("plugway-image-size")?.replace("x", " × ") || ""} pixels, ${number.format(Math.ceil(blob.size / 1024))} KiB`;
  buttons(result, saveLink("Download", url, `${file.name.replace(/\.[^.]*$/, "")}-${form.get("scale")}x.png`));
  result.hidden = false;
}

function compare(result) {
  result.querySelector("img").style.clipPath = `inset(0 ${100 - result.querySelector("input[type=range]").value}% 0 0)`;
}

/* ── the microphone ── */

let recorder, prompting = false;

async function record(part) {
  if (recorder) return recorder.stop();
  if (busy.has(part) || prompting) return;
  if (!navigator.mediaDevices || !window.MediaRecorder) {
    return say(part, "Browsers record only on pages of this machine, or over TLS. Choose an audio file instead.");
  }
  let sound;
  prompting = true;
  try { sound = await navigator.mediaDevices.getUserMedia({ audio: true }); } catch (error) { return say(part, `The browser gave no microphone: ${error.message || error.name}`); } finally { prompting = false; }
  if (!trials.has(part.id)) { for (const track of sound.getTracks()) track.stop(); return; }  // another token since
  const type = ["audio/webm", "audio/ogg", "audio/mp4"].find(one => MediaRecorder.isTypeSupported(one));
  const pieces = [];
  recorder = new MediaRecorder(sound, { mimeType: type });
  $("record").textContent = "Stop and write down";
  await working(part, "Recording…", signal => new Promise((done, failed) => {
    const end = () => { for (const track of sound.getTracks()) track.stop(); };
    recorder.ondataavailable = event => pieces.push(event.data);
    recorder.onstop = () => { end(); done(); };
    recorder.onerror = event => { end(); failed(event.error); };
    signal.onabort = () => { end(); failed(signal.reason); };
    recorder.start(1000);
  }));
  const stopped = recorder.state === "inactive" && !part.problem.textContent;
  recorder = null;
  $("record").textContent = "Record";
  if (stopped) await working(part, "Listening…", signal => hearAudio(part, signal, new File(pieces, "recorded", { type })));
}

/* ── forms, dropped and pasted files ── */

for (const [id, text, work] of [["read", "Reading…", readPicture], ["hear", "Listening…", hearAudio], ["speak", "Speaking…", speakText], ["enlarge", "Enlarging…", enlargePicture]]) {
  const part = $(id), form = part.querySelector("form");
  part.problem = make("p", null, "bad problem");
  part.problem.setAttribute("role", "alert");
  part.status = make("p", null, "working");
  part.status.hidden = true;
  part.note = make("span");
  part.time = make("span", null, "mute");
  part.cancel = button("Cancel", () => busy.get(part)?.());
  part.status.append(part.note, " ", part.time, " ", Object.assign(make("progress"), { ariaLabel: text }), " ", part.cancel);
  form.after(part.problem, part.status);
  form.onsubmit = event => { event.preventDefault(); working(part, text, signal => work(part, signal)); };
  part.ontoggle = async () => { if (part.open) { await lookAtTrials(trialsOf, true); if (id === "speak") listVoices(); } };
  const chosen = part.querySelector("input[type=file]");
  if (!chosen) continue;
  part.ondragover = event => { event.preventDefault(); part.classList.add("over"); };
  part.ondragleave = () => part.classList.remove("over");
  part.ondrop = event => {
    event.preventDefault();
    part.classList.remove("over");
    choose(part, event.dataTransfer.files);
  };
}

function choose(part, files) {
  if (!files.length || busy.has(part)) return;
  const one = new DataTransfer();
  one.items.add(files[0]);
  part.querySelector("input[type=file]").files = one.files;
  part.open = true;
  say(part, "");
  did(`Chosen: ${files[0].name}${files.length > 1 ? `, the first of ${files.length}` : ""}`);
}

/* A pasted picture belongs to the part with the focus, or else to the first one that is open. */
document.addEventListener("paste", event => {
  const pictures = [...event.clipboardData.files].filter(file => file.type.startsWith("image/"));
  const open = [...document.querySelectorAll("#read[open], #enlarge[open]")].filter(part => !part.hidden);
  const part = open.find(one => one.contains(document.activeElement)) || open[0];
  if (pictures.length && part) { event.preventDefault(); choose(part, pictures); }
});
$("record").onclick = () => record($("hear"));
$("enlarge").querySelector("input[type=range]").oninput = () => compare($("enlarge"));
