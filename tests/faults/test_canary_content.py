"""No text of a request or a reply appears in a log line, receipt, page, file, command or tool of the
gateway, nor in a reply to another caller. Uses all shipped plugins, upstreams that quote what they
receive, and a plugin whose exceptions quote the request (`docs/security.md`).
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path

import anyio
import httpx2
import orjson
import pytest

from plugway.testing import ScriptedUpstream
from tests.faults.canary_raiser import HOOKS, KINDS, install
from tests.faults.canary_words import (
    HEADERS,
    WORDS,
    Quoting,
    broken,
    chat,
    found_in,
    gemini,
    malformed,
    question,
    response,
)
from tests.faults.test_canary import TOKEN, leaks, processes, write
from tests.slow import SLOW

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(900)]
PLUGWAY = str(Path(sys.executable).with_name("plugway"))
BACKENDS = (
    "local", "anthropic", "openai", "chat", "gemini", "compatible", "ollama", "lmstudio", "server",
    "vllm", "pool", "codex", "echo", "apple",
)  # fmt: skip
MODELS = {"local": "demo", "apple": "system"}
"""By backend; the others take any name."""
HEAD = """
server: {{port: 0, token: {{$file: {folder}/token}}, max_body_bytes: 200000}}
plugins:
"""
STACK = """
  - use: permissions-watch
  - use: cache-watch
  - use: store
  - use: accounts
  - use: sign-in
  - use: dashboard
    options: {{history: true}}
  - use: auto-mode
  - use: audit-log
    options: {{folder: "{folder}/home/audit"}}
  - use: gemini-api
  - use: openai-api
  - use: mcp
  - use: local-answers
  - use: recorder
    options: {{key: {{$file: {folder}/key}}}}
  - use: switch
  - use: recommend
  - use: prices
  - use: thinking
  - use: resilience
    options: {{cooldown_seconds: 0.01, max_attempts: 1, breaker_failures: 9999}}
  - use: memory
  - use: toolbelt
  - use: error-normalizer
  - use: ocr
  - use: speech-to-text
  - use: text-to-speech
  - use: upscale
  - use: server-tools
  - use: tool-repair
  - use: context-guard
  - use: budget-tree
    options: {{default: {{tokens: 100000000}}}}
  - use: field-policy
  - use: template
    options: {{text: be brief}}
  - use: router
    options: {{models: {{"*": [local/demo]}}}}
  - use: budgets
  - use: bench
"""
LISTED = """
  - {{use: llama-cpp, name: local, options: {{model: demo, temperature: 0}}}}
  - {{use: anthropic, options: {{base_url: "{url}", api_key: {{$file: {folder}/token}}}}}}
  - {{use: openai, options: {{base_url: "{url}", api_key: {{$file: {folder}/token}}}}}}
  - {{use: openai-compatible, name: chat, options: {{base_url: "{url}"}}}}
  - {{use: gemini, options: {{base_url: "{url}", api_key: {{$file: {folder}/token}}}}}}
  - {{use: anthropic-compatible, name: compatible, options: {{base_url: "{url}"}}}}
  - {{use: ollama, options: {{base_url: "{url}"}}}}
  - {{use: lmstudio, options: {{base_url: "{url}"}}}}
  - {{use: llama-server, name: server, options: {{base_url: "{url}"}}}}
  - {{use: vllm, options: {{base_url: "{url}"}}}}
  - {{use: pool, options: {{servers: ["{url}"], session_header: x-session-id}}}}
  - {{use: codex, options: {{base_url: "{url}", home: "{folder}/codex", models: [m]}}}}
  - {{use: apple-intelligence, name: apple, options: {{base_url: "{url}"}}}}
  - {{use: mlx, name: silicon, options: {{preload: false}}}}
  - {{use: system-tools, options: {{}}}}
  - {{use: telemetry, options: {{scrape: true}}}}
  - {{use: echo}}
"""
SESSION = {
    "x-claude-code-session-id": "5d6b0b04-0000-4000-8000-000000000000",
    "plugway-record": "on",  # so that the file of recordings is searched, too
}
REPORTS = ("usage_report", "context_report", "explain_last", "endpoint_list", "model_list")


@dataclass
class Gateway:
    """A running gateway, and everything that it shows to others than the caller."""

    client: httpx2.AsyncClient
    shown: dict[str, str] = field(default_factory=dict)

    async def post(self, path, body, **headers):
        """The caller may get its own text back; the receipt of its reply is in the header."""
        raw = body if isinstance(body, bytes) else orjson.dumps(body)
        try:
            answer = await self.client.post(path, content=raw, headers={**HEADERS, **headers})
        except httpx2.RemoteProtocolError:  # a stream that the gateway cut
            return None
        for name in ("plugway-receipt", "request-id", "plugway-request-id"):
            self.shown["receipts"] = self.shown.get("receipts", "") + answer.headers.get(name, "")
        return answer

    async def look(self):
        """What others see: pages, reports, lists, and replies to their own requests."""
        dashboard = (f"/dashboard/{name}" for name in ("exchanges", "history", "state"))
        for path in (*dashboard, "/", "/v1/models", "/health", "/recordings"):
            answer = await self.client.get(path, headers={"accept": "text/html,*/*"})
            self.shown[path] = answer.text
        for tool in REPORTS:
            call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
            call["params"] = {"name": tool, "arguments": {}}
            accepted = {"accept": "application/json, text/event-stream"}
            answer = await self.client.post("/mcp", json=call, headers=accepted)
            self.shown[tool] = answer.text
        for name in BACKENDS:
            model = f"anthropic/{name}/{MODELS.get(name, 'm')}"
            plain = {
                "model": model,
                "max_tokens": 4,
                "messages": [{"role": "user", "content": "a"}],
            }
            answer = await self.client.post("/v1/messages/count_tokens", json=plain)
            self.shown[f"count of {name}"] = answer.text
            answer = await self.client.post("/v1/messages/explain", json=plain)
            self.shown[f"plan of {name}"] = answer.text


@asynccontextmanager
async def running(folder, plugins, url, site=None):
    """A gateway in a separate process; at the end, what it has left behind is searched."""
    home, temporary, log = folder / "home", folder / "tmp", folder / "log"
    for path in (home, temporary, folder / "codex"):
        path.mkdir()
    write(folder / "token", TOKEN)
    write(folder / "key", "a-key-for-recordings-0123456789")
    tokens = {"access_token": "a.e30.b", "account_id": "c"}
    write(folder / "codex" / "auth.json", orjson.dumps({"tokens": tokens}).decode())
    write(folder / "config.yaml", (HEAD + plugins).format(folder=folder, url=url))
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(temporary)}
    env |= {"PLUGWAY_TRACE_HOOKS": "1", "PYTHONPATH": str(site or "")}
    config = ["--config", str(folder / "config.yaml")]
    with log.open("wb") as out:
        command = [PLUGWAY, "serve", "--log-level", "debug", *config]
        process = await anyio.open_process(command, stdout=out, stderr=out, env=env)
    try:
        with anyio.fail_after(60):
            while "http://127.0.0.1:" not in log.read_text():
                assert process.returncode is None, log.read_text()
                await anyio.sleep(0.02)
        port = log.read_text().partition("http://127.0.0.1:")[2].split()[0].rstrip("/")
        headers = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
        async with httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60, headers=headers
        ) as client:
            gateway = Gateway(client)
            yield gateway
            await gateway.look()
        gateway.shown["process"] = processes(process.pid)
        for words in (["logs", "-n", "999", "--receipts"], ["logs", "-n", "999", "--json"]):
            done = await anyio.run_process([PLUGWAY, *words, *config, "--port", port], env=env)
            gateway.shown[" ".join(words)] = done.stdout.decode() + done.stderr.decode()
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            await process.wait()
    gateway.shown["log"] = log.read_text(errors="replace")
    for path in (*home.rglob("*"), *temporary.rglob("*")):
        if path.is_file():
            gateway.shown[f"{path.name} {path.parent}"] = path.read_bytes().decode("latin-1")


def check(gateway):
    found = [f"{where}: {at}" for where, text in gateway.shown.items() for at in found_in(text)]
    assert not found, f"{len(found)}:\n" + "\n".join(found[:60])
    assert not leaks(gateway.shown["log"], (TOKEN,))


async def ask_all(gateway, name, turns):
    """Requests of every dialect, streamed and complete, to one backend."""
    model = f"anthropic/{name}/{MODELS.get(name, 'm')}"
    for turn in range(turns):
        await gateway.post("/v1/messages", question(model, stream=bool(turn % 2)), **SESSION)
        if turn % 3 == 0:
            streamed = bool(turn % 6)
            await gateway.post("/v1/chat/completions", chat(model, stream=streamed))
            await gateway.post("/v1/responses", response(model, stream=streamed))
            method = "streamGenerateContent" if streamed else "generateContent"
            key = f"?alt=sse&key={WORDS['key']}"
            await gateway.post(f"/v1beta/models/{model}:{method}{key}", gemini())
    if name != "local" or SLOW:  # the engine would read all of it anew, twice
        edited = question(model, system=f"{WORDS['late']} " + "A rule. " * 120)
        await gateway.post("/v1/messages", edited, **SESSION)
        await gateway.post("/v1/messages", {**edited, "system": "B " + edited["system"]}, **SESSION)
    await gateway.post("/v1/messages/count_tokens", question(model))
    planned = (await gateway.post("/v1/messages/explain", question(model))).json()
    planned.pop("upstream_request", None)  # what would be sent is what was asked for
    gateway.shown[f"receipt of {name}"] = str(planned)


async def ask_wrongly(gateway, model):
    """Requests that the gateway itself refuses."""
    paths = ("/v1/messages", "/v1/messages/count_tokens", "/v1/chat/completions")
    for body in malformed(model):
        for path in paths:
            await gateway.post(path, body)
        await gateway.post("/v1/responses", {**body, "input": body["messages"]})
        asked = {"contents": body["messages"], "tools": body.get("tools")}
        await gateway.post(f"/v1beta/models/{model}:generateContent", asked)
    for raw in broken(question(model)):
        for path in (*paths, "/v1/responses", "/mcp"):
            await gateway.post(path, raw)
    asked = question("m")
    large = question("m", system=WORDS["system"] * 20000)
    statuses = [
        (await gateway.post("/v1/messages", asked, authorization="Bearer no")).status_code,
        (await gateway.post(f"/v1/{WORDS['path']}", asked)).status_code,
        (await gateway.post("/v1/messages", large)).status_code,
        (
            await gateway.post("/v1/messages", asked, **{"content-type": WORDS["header"]})
        ).status_code,
        (await gateway.post("/v1/messages", asked, host=WORDS["header"])).status_code,
    ]
    assert statuses == [401, 404, 413, 415, 421]
    for order in ("use", "list", WORDS["prompt"]):
        said = {"role": "user", "content": f"@plugway {order} {WORDS['prompt']}"}
        await gateway.post("/v1/messages", question("m", messages=[said]), **SESSION)


def test_every_plugin_that_can_be_listed_is_listed():
    shipped = {
        point.name
        for point in entry_points(group="plugway")
        if point.dist.name.startswith("plugway")
    }
    assert shipped == {
        name for name in shipped if f"use: {name}\n" in STACK or f"use: {name}," in LISTED
    } | ({"echo"} if "{use: echo}" in LISTED else set())


async def test_no_text_of_a_request_or_a_reply_is_recorded(tmp_path):
    """Each possible failure once; with `PLUGWAY_SLOW=1` with each backend and dialect."""
    async with ScriptedUpstream(otherwise=Quoting()) as upstream:
        async with running(tmp_path, STACK + LISTED, upstream.url) as gateway:
            for name in BACKENDS:
                quick, slow = {"local": (1, 4), "echo": (2, 40)}.get(name, (5, 100))
                await ask_all(gateway, name, slow if SLOW else quick)
            await ask_wrongly(gateway, "anthropic/openai/m")
            if SLOW:
                await ask_wrongly(gateway, "anthropic/local/demo")
                await ask_wrongly(gateway, "anthropic/compatible/m")
        recorded = orjson.loads(gateway.shown["/recordings"])["recordings"]
        assert recorded[0]["turns"] > 10, "there is something to hide in that file"
        sent = "".join(request.body.decode("utf-8", "replace") for request in upstream.requests)
    hidden = ("system", "prompt", "result", "argument", "path", "key", "thought", "schema", "stop")
    assert [word for word in hidden if WORDS[word] not in sent] == [], "nothing to hide"
    check(gateway)


async def test_an_exception_that_quotes_the_request_is_recorded_without_its_text(tmp_path):
    """Each kind of exception in one hook; with `PLUGWAY_SLOW=1` in each."""
    site = install(tmp_path / "site")
    raiser = "  - use: canary-raiser\n"
    backend = '  - {{use: anthropic-compatible, name: up, options: {{base_url: "{url}"}}}}\n'
    around = ("dashboard", "openai-api", "switch", "recommend", "mcp")
    plugins = "".join(f"  - use: {name}\n" for name in around) + raiser + backend
    pairs = [(hook, kind) for hook in HOOKS for kind in KINDS]
    count = len(pairs) if SLOW else len(HOOKS) + len(KINDS)
    step = 1 if SLOW else len(KINDS) + 1
    chosen = [pairs[number * step % len(pairs)] for number in range(count)]
    assert {hook for hook, _ in chosen} == set(HOOKS)
    assert {kind for _, kind in chosen} == set(KINDS)
    async with (
        ScriptedUpstream(otherwise=Quoting()) as upstream,
        running(tmp_path, plugins, upstream.url, site) as gateway,
    ):
        for number, (hook, kind) in enumerate(chosen):
            wanted = {"x-raise": f"{hook} {kind}"}
            asked = question("anthropic/up/m", stream=bool(number % 2))
            if hook.startswith("backend"):
                asked["model"] = "anthropic/canary/m"
            path = "/canary" if hook == "route" else "/v1/messages"
            await gateway.post(path, asked, **wanted, **SESSION)
            ask, made = (("chat/completions", chat), ("responses", response))[number % 2]
            await gateway.post(f"/v1/{ask}", made(asked["model"]), **wanted)
    check(gateway)
    log = gateway.shown["log"]
    assert "Traceback" in log
    named = (
        "KeyError",
        "JSONDecodeError",
        "ValidationError",
        "UnicodeEncodeError",
        "ExceptionGroup",
    )
    assert [name for name in named if name not in log] == [], "each is named"
