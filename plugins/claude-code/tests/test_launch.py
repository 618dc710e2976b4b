"""`plugway claude` starts, shares and stops the gateway, and hands its client private settings."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from plugway import LocalGateway, PlugwayError
from plugway_claude_code import _daemon
from plugway_claude_code._command import _announce
from plugway_claude_code._daemon import Started
from plugway_claude_code._models import Choice
from plugway_service.find import Service

from .conftest import PLUGWAY, snapshot

CLIENT = f"""#!{sys.executable}
# Stands in for Claude Code: writes down what it was given, and waits for the file `go`.
import json, os, sys, time, urllib.request
if sys.argv[1:] == ["--version"]:
    print("VERSION (Claude Code)")
    sys.exit()
print("the client runs", file=sys.stderr)
settings = sys.argv[sys.argv.index("--settings") + 1]
env = json.load(open(settings))["env"]
request = urllib.request.Request(env["ANTHROPIC_BASE_URL"] + "/health")
request.add_header("authorization", "Bearer " + env["ANTHROPIC_AUTH_TOKEN"])
health = json.load(urllib.request.build_opener(urllib.request.ProxyHandler({{}})).open(request))
seen = {{
    "argv": sys.argv[1:], "settings": json.load(open(settings)), "pid": health["pid"],
    "mode": oct(os.stat(settings).st_mode), "folder": oct(os.stat(os.path.dirname(settings)).st_mode),
}}
name = os.environ["SEEN"]
json.dump(seen, open(name + ".draft", "w"))
os.rename(name + ".draft", name)
while "wait" in sys.argv and not os.path.exists(name + ".go"):
    time.sleep(0.02)
sys.exit(7 if "fail" in sys.argv else 0)
"""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class Launcher:
    """Starts `plugway claude` with a client that stands in, on a gateway that repeats."""

    def __init__(self, home):
        self.folder = home
        self.port = free_port()
        self.config = home / "plugway.yaml"
        self.config.write_text(
            f"server: {{port: {self.port}}}\nplugins: [{{use: echo}}, {{use: field-policy}}]\n"
        )
        self.client = home / "claude"
        self.client.write_text(CLIENT.replace("VERSION", "2.1.329"))
        self.client.chmod(0o755)
        self.env = {"HOME": str(home), "PATH": "/usr/bin:/bin"}
        self.running = []

    def start(self, name, *words):
        process = subprocess.Popen(
            [PLUGWAY, "claude", "--config", self.config, "--claude", self.client, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**self.env, "SEEN": str(self.folder / name)},
        )
        self.running.append(process)
        return process

    def run(self, *words):
        process = self.start("seen", *words)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def seen(self, name="seen", seconds=30):
        end = time.monotonic() + seconds
        while not (self.folder / name).exists():
            assert time.monotonic() < end, "the client was not started"
            threading.Event().wait(0.02)
        return json.loads((self.folder / name).read_text())

    def go(self, name):
        (self.folder / f"{name}.go").touch()

    def up(self, *words):
        return subprocess.run(
            [PLUGWAY, "up", "--config", self.config, *words],
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
        )

    def close(self):
        for process in self.running:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.communicate()
        if list(self.folder.rglob("gateway-*.pid")):
            self.up("--stop")


@pytest.fixture
def launcher(home):
    made = Launcher(home)
    yield made
    made.close()


def lives(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_client_gets_private_settings_and_the_gateway_goes_with_it(launcher):
    code, _, err = launcher.run("--model", "ech", "--", "-p", "hello", "fail")
    assert code == 7, err
    seen = launcher.seen()
    assert seen["argv"][0] == "--settings"
    assert seen["argv"][2:] == ["-p", "hello", "fail"]
    assert (seen["mode"][-3:], seen["folder"][-3:]) == ("600", "700")
    env = seen["settings"]["env"]
    assert env["ANTHROPIC_BASE_URL"] == f"http://127.0.0.1:{launcher.port}"
    assert env["ANTHROPIC_DEFAULT_HAIKU_MODEL"] == "echo/echo"
    assert seen["settings"]["model"] == env["ANTHROPIC_MODEL"] == "anthropic/echo/echo"
    assert seen["settings"]["availableModels"] == ["anthropic/echo/echo"]
    assert env["CLAUDE_CODE_USE_BEDROCK"] == env["ANTHROPIC_API_KEY"] == ""
    assert env["ENABLE_TOOL_SEARCH"] == "true"
    assert env["ANTHROPIC_AUTH_TOKEN"] not in " ".join(seen["argv"])
    assert not os.path.exists(seen["argv"][1])
    assert not lives(seen["pid"])
    assert not (launcher.folder / ".claude").exists()
    assert "echo" in err


def test_that_the_model_is_a_demonstration_is_told_before_the_client_starts(launcher):
    launcher.config.write_text(
        f"server: {{port: {launcher.port}}}\nplugins:\n"
        "- use: router\n"
        "  options: {models: {plugway-sonnet: [echo/echo], '*': [local/demo, echo/echo]}}\n"
        "- {use: llama-cpp, name: local, options: {model: demo}}\n- {use: echo}\n"
    )
    assert launcher.up().returncode == 0
    _, _, err = launcher.run("--model", "demo")
    said, _, _ = err.partition("the client runs")
    assert "tiny demonstration model" in said
    _, _, err = launcher.run()
    assert "the client runs" in err
    assert "demonstration" not in err


@pytest.mark.parametrize(("window", "said"), [(8192, True), (65_536, False), (0, False)])
def test_that_a_window_is_too_small_for_the_client_is_said_before_it_starts(
    facts, capsys, window, said
):
    main = Choice("anthropic/local/m", "Model M", "local", window)
    _announce(facts().gateway, Started({}, fresh=False), main)
    err = capsys.readouterr().err.replace("\n", " ")
    line = f"Model M has a window of {window:,} tokens, and Claude Code needs 32,000"
    assert (line in err) is said
    assert ("plugway models recommend" in err) is said


def test_two_started_at_once_share_one_gateway_until_both_have_ended(launcher):
    first = launcher.start("one", "--", "wait")
    second = launcher.start("two", "--", "wait")
    pids = {launcher.seen("one")["pid"], launcher.seen("two")["pid"]}
    assert len(pids) == 1
    launcher.go("one")
    assert first.wait(30) == 0
    assert lives(*pids)
    launcher.go("two")
    assert second.wait(60) == 0
    assert not lives(*pids)


@pytest.mark.slow
def test_a_session_that_is_killed_does_not_hold_the_gateway(launcher):
    killed = launcher.start("one", "--", "wait")
    pid = launcher.seen("one")["pid"]
    killed.kill()
    killed.wait()
    launcher.go("one")
    code, _, err = launcher.run()
    assert code == 0, err
    assert launcher.seen()["pid"] == pid
    assert not lives(pid)


def test_a_gateway_that_ran_before_goes_on(launcher):
    assert launcher.up().returncode == 0
    launcher.run()
    pid = launcher.seen()["pid"]
    assert lives(pid)
    assert launcher.up("--quiet").stderr == ""
    launcher.up("--stop")
    assert not lives(pid)


@pytest.mark.slow
def test_with_keep_the_gateway_stays(launcher):
    launcher.run("--keep")
    assert lives(launcher.seen()["pid"])


def test_a_port_that_another_program_has_is_told(launcher):
    with socket.create_server(("127.0.0.1", launcher.port)) as listener:
        listener.settimeout(20)
        process = launcher.start("seen")
        with contextlib.suppress(TimeoutError):
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")
        _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert f"the server at http://127.0.0.1:{launcher.port} is not Plugway" in err


def test_a_gateway_that_cannot_start_is_told_in_its_own_words(launcher):
    (launcher.folder / "plugway.yaml").write_text(
        f"server: {{port: {launcher.port}}}\nplugins: [{{use: echo, options: {{colour: 1}}}}]\n"
    )
    code, _, err = launcher.run()
    assert code == 1
    assert "plugins[0].options.colour" in err or "colour" in err
    assert "unknown option" in err


@pytest.mark.parametrize(
    ("version", "says"),
    [("2.0.14", "Claude Code 2.0.14 is too old"), ("nothing", "prints no version")],
)
def test_a_client_that_is_too_old_is_told_with_what_to_run(launcher, version, says):
    (launcher.folder / "claude").write_text(CLIENT.replace("VERSION", version))
    code, _, err = launcher.run()
    assert code == 1
    assert says in err
    assert "npm install -g @anthropic-ai/claude-code" in err


def test_a_missing_client_is_told_before_anything_is_started(launcher):
    (launcher.folder / "claude").unlink()
    code, _, err = launcher.run()
    assert code == 1
    assert "is not installed" in err
    assert not list(launcher.folder.rglob("gateway-*"))


def test_settings_of_ones_own_are_refused(launcher):
    code, _, err = launcher.run("--", "--settings", "{}")
    assert code == 2
    assert "remove it" in err


def test_an_unknown_model_is_told_with_those_that_there_are(launcher):
    code, _, err = launcher.run("--model", "gpt-9")
    assert code == 1
    assert "unknown model `gpt-9`" in err
    assert "anthropic/echo/echo" in err


@pytest.mark.slow
def test_a_dry_run_prints_the_settings_without_the_token(launcher):
    assert launcher.up().returncode == 0
    code, out, _ = launcher.run("--dry-run")
    assert code == 0
    assert json.loads(out)["env"]["ANTHROPIC_AUTH_TOKEN"] == "***"
    token = (launcher.folder / ".local/state/plugway/token").read_text().strip()
    assert token not in out


def test_the_set_up_command_writes_shows_and_takes_back(launcher):
    settings = launcher.folder / ".claude/settings.json"
    settings.parent.mkdir()
    settings.write_text('{\n  "theme": "dark"\n}')
    before = snapshot(launcher.folder)
    words = [PLUGWAY, "setup", "claude-code", "--config", launcher.folder / "plugway.yaml"]
    env = {"HOME": str(launcher.folder), "PATH": "/usr/bin:/bin"}

    def run(*more):
        done = subprocess.run([*words, *more], env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done

    token_file = launcher.folder / ".local/state/plugway/token"
    dry = run("--dry-run")
    assert '+    "ANTHROPIC_BASE_URL": ' in dry.stdout
    assert token_file.read_text().strip() not in dry.stdout
    assert snapshot(launcher.folder) == before
    done = run()
    assert "ok " in done.stderr
    made = json.loads(settings.read_text())
    assert made["theme"] == "dark"
    hook = made["hooks"]["SessionStart"][0]["hooks"][0]["command"]
    started = subprocess.run(hook, shell=True, env=env, check=False)
    assert started.returncode == 0
    line = subprocess.run(
        made["statusLine"]["command"],
        shell=True,
        env=env,
        input='{"model": {"display_name": "Echo"}}',
        capture_output=True,
        text=True,
        check=False,
    )
    assert line.stdout == "Echo · plugway\n"
    undone = run("--undo")
    assert "restored" in undone.stderr
    assert snapshot(launcher.folder) == before


@pytest.fixture
def stopped_service(home, monkeypatch):
    """A gateway that is installed as a service, and stopped: what `plugway_service` reports."""
    config = home / "service.yaml"
    config.write_text(f"server: {{port: {free_port()}}}\nplugins: [{{use: echo}}]\n")
    gateway = LocalGateway.find(config)
    service = Service("work", config, gateway.port, fixed_port=False, log=None)
    children = []

    def start(asked):
        assert asked is service
        words = [PLUGWAY, "service", "serve", "--config", config]
        children.append(subprocess.Popen(words, stderr=subprocess.DEVNULL))

    def installed_on(port, path):
        return service if (port, path) == (gateway.port, config) else None

    monkeypatch.setattr(_daemon, "installed_on", installed_on)
    monkeypatch.setattr(_daemon, "start", start)
    yield gateway, children
    for child in children:
        child.terminate()
        child.wait(40)


def test_a_stopped_service_is_started_instead_of_a_second_gateway(stopped_service):
    gateway, children = stopped_service
    with _daemon.holding(gateway):
        started = _daemon.ensure_running(gateway)
        assert (started.service, started.fresh) == ("work", True)
        assert [child.pid for child in children] == [started.state["pid"]]
        assert not _daemon.ensure_running(gateway).fresh
    assert gateway.state() is not None, "it is not stopped with the last session"


def test_a_service_that_does_not_start_is_not_replaced(stopped_service, monkeypatch):
    gateway, _ = stopped_service

    def fail(service):
        raise PlugwayError("the service `work` does not start: its program is missing")

    monkeypatch.setattr(_daemon, "start", fail)
    with pytest.raises(PlugwayError, match="its program is missing"):
        _daemon.ensure_running(gateway)
    assert gateway.state() is None
