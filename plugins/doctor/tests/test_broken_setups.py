"""Set-ups that people really have: each is found, with its place and its fix, and no key is shown.

A row is a name, what is broken, the check that finds it, and words of its reason and of its fix.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sysconfig
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from plugway import LocalGateway
from plugway_doctor import _client_settings, _settings_files
from plugway_doctor._settings_files import ClientSettings
from tests.commands import command

PLUGWAY = str(Path(sysconfig.get_path("scripts")) / "plugway")
SECRET = "sk-canary-0123456789abcdef"
STACK = ("auto-mode", "error-normalizer", "server-tools", "tool-repair")


def spread(rows):
    """Every fourth row, and all of them with `PLUGWAY_SLOW=1`: each starts the command anew."""
    slow = pytest.mark.slow
    return [
        row if number % 4 == 0 else pytest.param(row, marks=slow) for number, row in enumerate(rows)
    ]


class Model(BaseHTTPRequestHandler):
    """A model's server. What stands first in the path is what is wrong with it."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        listed = [] if self.path.startswith("/empty") else [{"id": "m", "type": "model"}]
        self.answer(200, json.dumps({"data": listed, "models": []}))

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        kind = self.path.split("/")[1]
        if kind == "html":
            self.answer(200, "<html>Welcome to nginx</html>", "text/html")
        elif kind.isdecimal():
            said = (
                "model 'm' not found"
                if "gone" in self.path
                else f"no: key {self.headers.get('x-api-key')} was {self.headers.get('authorization')}"
            )
            error = {"type": "error", "error": {"type": "api_error", "message": said}}
            self.answer(int(kind), json.dumps(error))
        elif body["model"] != "m":
            error = {"type": "not_found_error", "message": f"no model {body['model']}"}
            self.answer(404, json.dumps({"type": "error", "error": error}))
        elif len(json.dumps(body)) > 100_000:
            said = "prompt is too long: 70000 tokens > 65536 maximum"
            error = {"type": "error", "error": {"type": "invalid_request_error", "message": said}}
            self.answer(400, json.dumps(error))
        else:
            self.answer(
                200, stream(calls="tools" in body and kind != "notools"), "text/event-stream"
            )

    def answer(self, status, text, kind="application/json"):
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        """Says nothing."""


def stream(*, calls):
    """A stream: a word, or a call of the tool that is forced."""
    block, delta = {"type": "text", "text": ""}, {"type": "text_delta", "text": "ready"}
    if calls:
        block = {"type": "tool_use", "id": "toolu_1", "name": "note_city", "input": {}}
        delta = {"type": "input_json_delta", "partial_json": '{"city": "Paris"}'}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}
    stop = {"stop_reason": "tool_use" if calls else "end_turn", "stop_sequence": None}
    events = [
        {"type": "message_start", "message": {**message, "usage": {"input_tokens": 9}}},
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": stop, "usage": {"output_tokens": 3}},
        {"type": "message_stop"},
    ]
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)


class Server(ThreadingHTTPServer):
    """Says nothing of clients that leave: it shares its output with the command."""

    def handle_error(self, request, client_address):
        pass


@pytest.fixture(scope="module")
def model():
    """The address of a server with every kind of fault, by the path."""
    with Server(("127.0.0.1", 0), Model) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@dataclass
class Machine:
    """A user's machine: a home, a configuration, settings of Claude Code, an environment."""

    home: Path
    model: str
    port: int = field(default_factory=free_port)
    env: dict[str, str] = field(default_factory=dict)
    words: list[str] = field(default_factory=lambda: ["--no-models"])
    folder: Path | None = None
    blocks: int | None = None

    def __post_init__(self):
        self.claude("echo '2.1.332 (Claude Code)'")
        self.stack()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def config(self):
        return self.home / ".config/plugway/config.yaml"

    @property
    def user_settings(self):
        return Path(self.env.get("CLAUDE_CONFIG_DIR", self.home / ".claude")) / "settings.json"

    @property
    def token(self):
        return (self.home / ".local/state/plugway/token").read_text().strip()

    def claude(self, script):
        binary = self.home / "bin/claude"
        binary.parent.mkdir(exist_ok=True)
        binary.write_text(f"#!/bin/sh\n{script}\n")
        binary.chmod(0o755)

    def stack(self, *entries, uses=STACK):
        """The configuration: these plugins, then these entries, by default a model that works."""
        options = f"{{base_url: '{self.model}/good', api_key: {{$env: UP}}, models: [m]}}"
        up = f"{{use: anthropic-compatible, name: up, options: {options}}}"
        lines = [f"{{use: {use}}}" for use in uses] + list(entries or (up,))
        self.write("plugins:\n" + "".join(f"  - {line}\n" for line in lines))
        self.env["UP"] = SECRET

    def write(self, text):
        self.config.parent.mkdir(parents=True, exist_ok=True)
        self.config.write_text(f"server: {{port: {self.port}}}\n{text}")

    def settings(self, env=None, file=None, **more):
        file = file or self.user_settings
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"env": env or {}, **more}))

    def points_here(self, env=None, **more):
        """Settings like those of `plugway setup claude-code`, with these changes."""
        usual = {
            "ANTHROPIC_BASE_URL": self.url,
            "ANTHROPIC_AUTH_TOKEN": self.token,
            "ANTHROPIC_MODEL": "anthropic/up/m",
            "CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY": "1",
            **(env or {}),
        }
        self.settings({key: value for key, value in usual.items() if value is not None}, **more)

    def doctor(self):
        env = {"HOME": str(self.home), "PATH": f"{self.home / 'bin'}:{os.defpath}", **self.env}
        words, folder = ["doctor", "--json", *self.words], self.folder or self.home
        if self.blocks is None:
            return command(*words, env=env, folder=folder)
        # Python would keep cut files of bytecode, on which every later start would fail.
        env["PYTHONDONTWRITEBYTECODE"] = "1"
        return subprocess.run(
            [PLUGWAY, *words],
            capture_output=True, text=True, env=env, cwd=folder, timeout=60, preexec_fn=self._limit,
        )  # fmt: skip

    def _limit(self):
        """A disk on which no more than this many bytes fit into a file."""
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.blocks, self.blocks))

    def serve(self):
        env = {"HOME": str(self.home), "PATH": os.defpath, **self.env}
        child = subprocess.Popen(
            [PLUGWAY, "serve", "--log-json"], stderr=subprocess.PIPE, text=True, env=env
        )
        assert any("listening" in line for line in child.stderr)
        return child


def found_in(done, check):
    assert "Traceback" not in done.stdout + done.stderr
    assert SECRET not in done.stdout + done.stderr
    checks = json.loads(done.stdout)["checks"]
    assert all(c["fix"] for c in checks if c["outcome"] in {"warned", "failed"})
    bad = [c for c in checks if c["name"] == check and c["outcome"] in {"warned", "failed"}]
    assert bad, checks
    return bad


@dataclass(frozen=True)
class Row:
    name: str
    breaks: Callable[[Machine], object]
    check: str
    reason: str
    fix: str


def judge(row, machine):
    row.breaks(machine)
    done = machine.doctor()
    told = {
        key: value.format(m=machine) for key, value in vars(row).items() if key in ("reason", "fix")
    }
    found = found_in(done, row.check)
    assert any(told["reason"] in c["reason"] and told["fix"] in c["fix"] for c in found), found
    assert done.returncode in (1, 4)


CONFIGURATIONS = [
    Row("no file", lambda m: m.env.update(PLUGWAY_CONFIG=str(m.home / "no.yaml")),
        "configuration", "no.yaml: there is no such file", "plugway config example >"),
    Row("a folder", lambda m: m.env.update(PLUGWAY_CONFIG=str(m.home)),
        "configuration", "cannot be read: Is a directory", ""),
    Row("not UTF-8", lambda m: m.config.write_bytes(b"plugins: [\xff]"),
        "configuration", "config.yaml:1:11: not UTF-8 text", "save it as UTF-8"),
    Row("YAML", lambda m: m.write("plugins:\n  - use: 'echo\n"), "configuration", "config.yaml:", ""),
    Row("unknown option", lambda m: m.stack("{use: echo, options: {modls: [a]}}"),
        "configuration", "modls", "did you mean `models`"),
    Row("unknown section", lambda m: m.write("plugin: []\n"), "configuration", "plugin", "`plugins`"),
    Row("not installed", lambda m: m.stack("{use: nowhere}"),
        "configuration", "no installed plugin is called `nowhere`", "install the package"),
    Row("order that cannot work", lambda m: m.stack(uses=("tool-repair", "server-tools")),
        "configuration", "`server-tools` must be listed before `tool-repair`", "move one"),
    Row("order in vain", lambda m: m.stack(uses=(*STACK, "resilience")),
        "plugin order", "`error-normalizer` is listed before `resilience`", "{m.config}"),
    Row("not approved", lambda m: approved(m, "plugway-doctor"),
        "configuration", "run `plugway plugins --approve plugway-anthropic-compatible`", ""),
    Row("$env", lambda m: m.env.pop("UP"), "configuration", "`UP` is not set", "export UP="),
    Row("$keyring", lambda m: m.stack("{use: anthropic, options: {api_key: {$keyring: none}}}"),
        "configuration", "config.yaml:7", ""),
    Row("$file", lambda m: m.stack("{use: anthropic, options: {api_key: {$file: /no/key}}}"),
        "configuration", "there is no file `/no/key`", ""),
    Row("open $file", lambda m: open_key(m), "configuration", "is accessible to every user", "chmod 600"),
    Row("open to the network", lambda m: m.config.write_text("server: {host: 0.0.0.0}\nplugins: []"),
        "configuration", "is reachable from other machines", "127.0.0.1"),
    Row("no auto-mode", lambda m: m.stack(uses=STACK[1:]),
        "auto mode", "`auto-mode` is not listed", "add `- use: auto-mode` to {m.config}"),
    Row("no server-tools", lambda m: m.stack(uses=("auto-mode", "error-normalizer", "tool-repair")),
        "server tools", "invents web search results", "add `- use: server-tools` to {m.config}"),
    Row("no tool-repair", lambda m: m.stack(uses=STACK[:3]),
        "tool repair", "`tool-repair` is not listed", "add `- use: tool-repair` to {m.config}"),
    Row("no error-normalizer", lambda m: m.stack(uses=("auto-mode", *STACK[2:])),
        "error messages", "does not compact", "add `- use: error-normalizer` to {m.config}"),
    Row("state is a file", lambda m: not_a_folder(m), "state folder", "cannot write to {m.home}/.local/state/plugway: File exists", "XDG_"),
    Row("disk full", lambda m: setattr(m, "blocks", 1024), "state folder", "File too large", "disk space"),
    Row("gateway not running", lambda m: m.settings({"ANTHROPIC_BASE_URL": m.url}),
        "gateway", "nothing listens at {m.url}, where ANTHROPIC_BASE_URL in {m.user_settings}",
        "plugway serve"),
    Row("old client", lambda m: m.claude("echo '1.0.3 (Claude Code)'"),
        "claude code", "1.0.3 is too old", "claude update"),
    Row("broken client", lambda m: m.claude("exit 1"), "claude code", "/bin/claude --version`", "npm"),
    Row("no client", lambda m: (m.home / "bin/claude").unlink(),
        "claude code", "not installed", "npm install"),
]  # fmt: skip


def open_key(machine):
    key = machine.home / "key"
    key.write_text(SECRET)
    key.chmod(0o644)
    machine.stack(f"{{use: anthropic, options: {{api_key: {{$file: {key}}}}}}}")


def approved(machine, *packages):
    """Nothing but these packages is approved."""
    subprocess.run(
        [PLUGWAY, "plugins", "--approve", *packages],
        env={"HOME": str(machine.home), "PATH": os.defpath}, check=True, capture_output=True,
    )  # fmt: skip


def not_a_folder(machine):
    state = machine.home / ".local/state"
    state.mkdir(parents=True)
    (state / "plugway").write_text("")


@pytest.mark.parametrize("row", spread(CONFIGURATIONS), ids=lambda row: row.name)
def test_a_broken_configuration_is_found_with_its_place_and_fix(row, tmp_path, model):
    judge(row, Machine(tmp_path, model))


@pytest.fixture(scope="module")
def running(tmp_path_factory, model):
    """A machine on which all is in order, and the gateway runs."""
    machine = Machine(tmp_path_factory.mktemp("home"), model)
    child = machine.serve()
    yield machine
    child.kill()
    child.communicate()


@pytest.fixture
def machine(running, tmp_path):
    """The same machine, with settings and an environment of the row's own."""
    running.env = {"UP": SECRET, "CLAUDE_CONFIG_DIR": str(tmp_path / ".claude")}
    running.folder = tmp_path
    running.words = ["--no-models"]
    return running


CLIENTS = [
    Row("wrong port", lambda m: m.points_here({"ANTHROPIC_BASE_URL": "http://127.0.0.1:1"}),
        "base url", "{m.user_settings} points Claude Code to http://127.0.0.1:1, where nothing listens",
        "set it to {m.url}"),
    Row("another gateway", lambda m: m.points_here({"ANTHROPIC_BASE_URL": "https://u:sk-canary-0123456789abcdef@llm.example/x"}),
        "base url", "points Claude Code to https://llm.example/x", "set it to {m.url}"),
    Row("https", lambda m: m.points_here({"ANTHROPIC_BASE_URL": m.url.replace("http", "https")}),
        "base url", "does not speak TLS", "set it to {m.url}"),
    Row("/v1", lambda m: m.points_here({"ANTHROPIC_BASE_URL": f"{m.url}/v1"}),
        "base url", "adds `/v1` itself", "set it to {m.url}"),
    Row("another path", lambda m: m.points_here({"ANTHROPIC_BASE_URL": f"{m.url}/anthropic"}),
        "base url", "a path that the gateway does not serve", "set it to {m.url}"),
    Row("no URL", lambda m: m.points_here({"ANTHROPIC_BASE_URL": "127.0.0.1:8484"}),
        "base url", "not a valid URL", "set it to {m.url}"),
    Row("stale token", lambda m: m.points_here({"ANTHROPIC_AUTH_TOKEN": SECRET}),
        "credential", "ANTHROPIC_AUTH_TOKEN in {m.user_settings}", "plugway setup claude-code"),
    Row("key in its place", lambda m: m.points_here({"ANTHROPIC_AUTH_TOKEN": None, "ANTHROPIC_API_KEY": SECRET}),
        "credential", "ANTHROPIC_API_KEY in {m.user_settings}", "plugway setup claude-code"),
    Row("stale token of the shell", lambda m: (m.env.update(ANTHROPIC_AUTH_TOKEN=SECRET), m.points_here({"ANTHROPIC_AUTH_TOKEN": None})),
        "credential", "the variable ANTHROPIC_AUTH_TOKEN", "plugway setup claude-code"),
    Row("token of a project", lambda m: (m.points_here(), m.settings({"ANTHROPIC_AUTH_TOKEN": SECRET}, m.folder / ".claude/settings.local.json")),
        "credential", ".claude/settings.local.json", "plugway setup claude-code"),
    Row("emptied by a project", lambda m: (m.points_here(), m.settings({"ANTHROPIC_AUTH_TOKEN": ""}, m.folder / ".claude/settings.local.json")),
        "credential", "no token is set", "plugway setup claude-code"),
    Row("both", lambda m: m.points_here({"ANTHROPIC_API_KEY": SECRET}),
        "credential", "are both set", "remove ANTHROPIC_API_KEY in {m.user_settings}"),
    Row("both wrong", lambda m: m.points_here({"ANTHROPIC_AUTH_TOKEN": "a", "ANTHROPIC_API_KEY": SECRET}),
        "credential", "ANTHROPIC_AUTH_TOKEN in {m.user_settings} and ANTHROPIC_API_KEY in", "plugway setup"),
    Row("proxy", lambda m: (m.points_here(), m.env.update(https_proxy=f"http://u:{SECRET}@proxy:3128", NO_PROXY="localhost")),
        "proxy", "the variable https_proxy makes Claude Code send requests for 127.0.0.1", "add 127.0.0.1 to the variable NO_PROXY"),
    Row("proxy of settings", lambda m: m.points_here({"ALL_PROXY": "socks5://proxy:1080"}),
        "proxy", "ALL_PROXY in {m.user_settings}", "{m.user_settings}"),
    Row("another provider", lambda m: m.points_here({"CLAUDE_CODE_USE_BEDROCK": "1"}),
        "provider", "CLAUDE_CODE_USE_BEDROCK in {m.user_settings}", "remove it"),
    Row("settings not JSON", lambda m: (m.points_here(), m.user_settings.write_text('{"env": {},}')),
        "client settings", "{m.user_settings} is not valid JSON", "fix {m.user_settings}"),
    Row("no discovery", lambda m: m.points_here({"CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY": None}),
        "model discovery", "is not set", "set CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY to 1"),
    Row("discovery off", lambda m: m.points_here({"CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY": "0"}),
        "model discovery", "in {m.user_settings} is off", "to 1"),
    Row("no traffic", lambda m: m.points_here({"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "0"}),
        "model discovery", "{m.user_settings} disables it", "remove CLAUDE_CODE_DISABLE"),
]  # fmt: skip

MODELS = [
    Row("model not served", lambda m: m.points_here({"ANTHROPIC_MODEL": "anthropic/up/gone"}),
        "model anthropic/up/gone", "ANTHROPIC_MODEL in {m.user_settings}", "anthropic/up/m"),
    Row("model of another vendor", lambda m: m.points_here({"ANTHROPIC_DEFAULT_HAIKU_MODEL": "us.anthropic.claude-haiku-4-5-v1:0"}),
        "model us.anthropic.claude-haiku-4-5-v1:0", "ANTHROPIC_DEFAULT_HAIKU_MODEL in", "anthropic/up/m"),
    Row("model of the settings", lambda m: m.points_here({"ANTHROPIC_MODEL": None}, model="other/m"),
        "model other/m", "`model` in {m.user_settings}", "anthropic/up/m"),
    Row("stale list", lambda m: m.points_here(availableModels=["anthropic/up/m", "anthropic/up/gone"]),
        "available models", "offers models that the gateway does not list: anthropic/up/gone", "plugway setup"),
    Row("hidden models", lambda m: m.points_here(availableModels=["opus"]),
        "available models", "hides 2 listed models from `/model`", "plugway setup"),
    Row("window too large", lambda m: m.points_here({"CLAUDE_CODE_MAX_CONTEXT_TOKENS": "200000", "ANTHROPIC_MODEL": "anthropic/echo/echo"}),
        "configured window", "sets 200,000 tokens, and anthropic/echo/echo has 20,000", "to 20000"),
    Row("window not told", lambda m: m.points_here({"ANTHROPIC_MODEL": "anthropic/echo/echo"}),
        "configured window", "Claude Code assumes 200,000 tokens or more", "to 20000"),
    Row("window no number", lambda m: m.points_here({"CLAUDE_CODE_MAX_CONTEXT_TOKENS": "64k"}),
        "configured window", "CLAUDE_CODE_MAX_CONTEXT_TOKENS in {m.user_settings}", "number"),
    Row("window too small", lambda m: m.points_here(),
        "window of anthropic/echo/echo", "20,000 tokens are not enough", "32,000"),
    Row("window unknown", lambda m: m.points_here(), "window of anthropic/up/m", "unknown", "windows"),
]  # fmt: skip


@pytest.mark.parametrize("row", spread(CLIENTS), ids=lambda row: row.name)
def test_a_client_that_cannot_come_here_is_found_with_its_place_and_fix(row, machine):
    judge(row, machine)


def test_a_machine_on_which_all_is_in_order_is_told_so(machine):
    machine.points_here()
    done = machine.doctor()
    assert [c for c in json.loads(done.stdout)["checks"] if c["outcome"] not in {"passed"}] == []
    assert done.returncode == 0
    machine.points_here({"HTTP_PROXY": "http://proxy:3128", "NO_PROXY": "10.0.0.0/8, 127.0.0.0/8"})
    assert machine.doctor().returncode == 0
    machine.points_here({"ANTHROPIC_BASE_URL": machine.url.replace("127.0.0.1", "localhost")})
    assert machine.doctor().returncode == 0


@pytest.fixture(scope="module")
def two_models(tmp_path_factory, model):
    """A gateway with two backends, one of which has a small window."""
    machine = Machine(tmp_path_factory.mktemp("two"), model)
    up = f"{{use: anthropic-compatible, name: up, options: {{base_url: '{model}/good', models: [m]}}}}"
    machine.stack(up, "{use: echo, options: {context_tokens: 20000}}")
    child = machine.serve()
    yield machine
    child.kill()
    child.communicate()


@pytest.mark.parametrize("row", spread(MODELS), ids=lambda row: row.name)
def test_a_model_that_the_client_cannot_use_is_found(row, two_models, tmp_path):
    two_models.env = {"UP": SECRET, "CLAUDE_CONFIG_DIR": str(tmp_path / ".claude")}
    two_models.folder = tmp_path
    two_models.words = ["--seconds", "5"]
    judge(row, two_models)


UPSTREAMS = {
    "401": ("does not accept the key", "give the backend a valid key"),
    "403": ("does not allow this", "a key that has access to this model"),
    "404": ("does not have the requested path", "`base_url`"),
    "404/gone": ("model 'm' not found", "check that its server has this model"),
    "429": ("[redacted]", "wait, or add a fallback"),
    "500": ("[redacted]", "of the model's server"),
    "html": ("text/html", "log"),
    "notools": ("should have called a tool, but it replied 'ready'", "trained for tool calls"),
    "down": ("connection refused", "start its server"),
    "tls": ("does not speak TLS", "use `http://`"),
    "dns": ("cannot resolve", "`base_url`"),
    "mute": ("no complete reply within 3 s", "`base_url` points to it"),
}
"""The fault of a backend, and the words of the reason and of the fix."""


@pytest.fixture(scope="module")
def upstreams(tmp_path_factory, model):
    """One look at a gateway each of whose backends has a fault of its own."""
    machine = Machine(tmp_path_factory.mktemp("upstreams"), model)
    machine.words = ["--seconds", "3"]
    with socket.create_server(("127.0.0.1", 0)) as mute:
        silent = f"127.0.0.1:{mute.getsockname()[1]}"
        urls = {
            **{kind: f"{model}/{kind}" for kind in UPSTREAMS},
            "down": f"http://127.0.0.1:{free_port()}",
            "tls": model.replace("http", "https"),
            "dns": "https://vendor..invalid",
            "mute": f"http://{silent}",
        }
        options = "{base_url: '%s', api_key: {$env: UP}%s}"
        entries = [
            f"{{use: {use}, name: {named(use, kind)}, options: {options % (url, more)}}}"
            for use, more in {
                "anthropic-compatible": ", models: [m]",
                "openai-compatible": "",
            }.items()
            for kind, url in urls.items()
        ]
        entries.append(f"{{use: ollama, name: empty, options: {{base_url: '{model}/empty'}}}}")
        machine.stack(*entries)
        yield machine.doctor()


def named(use, kind):
    return f"{use[:1]}-{kind.replace('/', '-')}"


@pytest.mark.parametrize(
    ("use", "kind"),
    [
        *(("anthropic-compatible", kind) for kind in UPSTREAMS),
        *(("openai-compatible", kind) for kind in UPSTREAMS if kind != "notools"),
    ],
)
def test_a_server_that_does_not_answer_an_agent_is_found_with_its_address(upstreams, use, kind):
    name = named(use, kind)
    reason, fix = UPSTREAMS[kind]
    probe = "tool" if kind == "notools" else "stream"
    listed = use == "anthropic-compatible" or kind not in {"down", "tls", "dns", "mute"}
    check = f"{probe} on anthropic/{name}/m" if listed else f"models of {name}"
    (found,) = found_in(upstreams, check)
    assert reason in found["reason"]
    assert "127.0.0.1" in found["reason"] or "vendor..invalid" in found["reason"]
    assert fix in found["fix"]
    assert upstreams.returncode == 1


def test_a_server_without_models_is_found(upstreams):
    (found,) = found_in(upstreams, "models of empty")
    assert "/empty" in found["reason"]
    assert "base_url" in found["fix"]


def test_what_an_administrator_sets_is_told_as_such(tmp_path, monkeypatch):
    """In the process: the folder of managed settings is the machine's own."""
    folder = tmp_path / "managed"
    folder.mkdir()
    (folder / "managed-settings.json").write_text(
        json.dumps({"forceLoginMethod": "claudeai", "env": {"ANTHROPIC_BASE_URL": "http://corp:1"}})
    )
    monkeypatch.setattr(_settings_files, "managed_folder", lambda: folder)
    settings = ClientSettings.read(tmp_path)
    gateway = LocalGateway.find()
    (forced,) = _client_settings.readable(settings)
    address = _client_settings.base_url(gateway, settings)
    assert (forced.outcome, address.outcome) == ("failed", "failed")
    assert "`forceLoginMethod` in" in forced.reason
    assert f"your settings cannot override {folder / 'managed-settings.json'}" in address.fix
