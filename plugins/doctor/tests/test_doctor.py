"""The command as a person runs it: a home of its own, real gateways, real settings files."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sysconfig
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from tests.commands import command

PLUGWAY = str(Path(sysconfig.get_path("scripts")) / "plugway")


@pytest.fixture
def home(tmp_path):
    """An empty home, with a `claude` that only knows its version."""
    binary = tmp_path / "bin" / "claude"
    binary.parent.mkdir()
    binary.write_text("#!/bin/sh\necho '2.1.329 (Claude Code)'\n")
    binary.chmod(0o755)
    return tmp_path


def config(home, *, model="echo-1", **options):
    """A configuration on a free port with the echo backend."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    path = home / "config.yaml"
    path.write_text(
        f"server: {{port: {port}}}\nplugins:\n  - use: echo\n    options: {json.dumps(options)}\n"
    )
    return path, f"http://127.0.0.1:{port}"


def doctor(home, *words, **environment):
    env = {"HOME": str(home), "PATH": f"{home / 'bin'}:{os.environ['PATH']}", **environment}
    return command("doctor", *words, env=env, folder=home)


def checks(done):
    found = json.loads(done.stdout)["checks"]
    return {check["name"]: check for check in found}


def test_each_line_that_is_not_in_order_carries_its_fix(home):
    path, url = config(home)
    done = doctor(home, "--config", str(path), "--json")
    found = checks(done)
    assert found["configuration"]["outcome"] == "passed"
    assert found["gateway"]["reason"] == f"nothing listens at {url}"
    assert found["claude code"]["reason"].startswith("version 2.1.329 at ")
    assert any(name.startswith("stream on anthropic/echo/") for name in found)
    assert all(check["fix"] for check in found.values() if check["outcome"] in {"warned", "failed"})


def test_a_model_that_calls_no_tool_fails_the_report(home):
    path, _ = config(home)
    done = doctor(home, "--config", str(path), "--json")
    tool = next(c for name, c in checks(done).items() if name.startswith("tool on "))
    assert tool["outcome"] == "failed"
    assert tool["fix"]
    assert done.returncode == 1


def test_a_wrong_configuration_is_all_that_is_told(home):
    path = home / "config.yaml"
    path.write_text("plugins:\n  - use: eco\n")
    done = doctor(home, "--config", str(path), "--json")
    found = checks(done)
    assert set(found) == {"state folder", "token", "configuration"}
    assert "config.yaml:2:5" in found["configuration"]["reason"]
    assert done.returncode == 1


def test_what_is_odd_in_the_configuration_is_to_be_looked_at(home):
    path, _ = config(home)
    text = path.read_text()
    odd = "  - use: switch\n    options: {allow_zones: [locl]}\n"
    path.write_text(text.replace("plugins:\n", f"plugins:\n{odd}"))
    found = checks(doctor(home, "--config", str(path), "--json", "--no-models"))["configuration"]
    assert found["outcome"] == "warned"
    assert found["reason"].startswith("switch: no backend is in the zone `locl`")
    assert found["reason"].endswith("did you mean `local`?")


def test_a_port_that_another_program_has_is_told(home):
    path, url = config(home)
    with socket.socket() as other:
        other.bind(("127.0.0.1", int(url.rpartition(":")[2])))
        other.listen()
        other.settimeout(20)
        running = subprocess.Popen(
            [PLUGWAY, "doctor", "--config", str(path), "--json"],
            stdout=subprocess.PIPE, text=True, cwd=home, env={"HOME": str(home), "PATH": os.environ["PATH"]},
        )  # fmt: skip
        for _ in range(1):
            taken, _ = other.accept()
            taken.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")
            taken.close()
        out, _ = running.communicate(timeout=40)
    gateway = next(c for c in json.loads(out)["checks"] if c["name"] == "gateway")
    assert gateway["outcome"] == "failed"
    assert "not Plugway" in gateway["reason"]
    assert "server.port" in gateway["fix"]


@pytest.fixture
def silent():
    """The address of a server that accepts connections and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def test_a_server_that_cannot_be_used_is_told_by_instance_address_reason_and_fix(home, silent):
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{found.getsockname()[1]}"
    path, gateway = config(home)
    urls = {
        "nowhere": "https://vendor..invalid",
        "off": closed,
        "mute": f"http://{silent}",
        "muted": f"https://{silent}",
        "plain": gateway.replace("http", "https"),  # of the gateway itself, which speaks no TLS
    }
    backend = "  - {use: anthropic-compatible, name: %s, options: {base_url: '%s', models: [m]}}\n"
    listed = "".join(backend % item for item in urls.items())
    unlisted = f"  - {{use: ollama, options: {{base_url: '{closed}'}}}}\n"
    behind = f"{{base_url: 'https://vendor.example', models: [m], proxy: '{closed}'}}"
    unlisted += f"  - {{use: anthropic-compatible, name: behind, options: {behind}}}\n"
    path.write_text(path.read_text().partition("plugins:")[0] + "plugins:\n" + listed + unlisted)
    serving = subprocess.Popen(
        [PLUGWAY, "serve", "--config", str(path), "--log-json"],
        stderr=subprocess.PIPE, text=True, env={"HOME": str(home), "PATH": os.environ["PATH"]},
    )  # fmt: skip
    try:
        assert any("listening" in line for line in serving.stderr)
        found = checks(doctor(home, "--config", str(path), "--json", "--seconds", "3"))
    finally:
        serving.kill()
        serving.communicate()
    told = {name: found[f"stream on anthropic/{name}/m"] for name in urls}
    for name, url in urls.items():
        assert told[name]["outcome"] == "failed"
        assert url in told[name]["reason"]
    reasons = {name: check["reason"] for name, check in told.items()}
    fixes = {name: check["fix"] for name, check in told.items()}
    assert "`nowhere`: cannot resolve " in reasons["nowhere"]
    assert "check this machine's network" in fixes["nowhere"]
    assert reasons["off"].endswith(": connection refused")
    assert fixes["off"] == "start its server, or fix `base_url`"
    assert "no complete reply within 3 s" in reasons["mute"]
    assert "`base_url` points to it" in fixes["mute"]
    assert "in the TLS handshake" in reasons["muted"]
    assert "does not speak TLS" in reasons["plain"]
    assert "`http://`" in fixes["plain"]
    assert (
        found["models of ollama"]["reason"]
        == f"`ollama`: cannot connect to {closed}: connection refused"
    )
    assert found["models of ollama"]["fix"] == fixes["off"]
    assert found["path to behind"]["reason"] == f"through the proxy {closed} (`proxy`)"
    by_proxy = found["stream on anthropic/behind/m"]
    assert f"cannot connect to the proxy {closed} (`proxy`)" in by_proxy["reason"]
    assert by_proxy["fix"] == "check the proxy, or set `proxy: direct`"


def test_a_backend_that_answers_and_lists_nothing_is_to_be_looked_at(home):
    path, _ = config(home)
    with ThreadingHTTPServer(("127.0.0.1", 0), Nothing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        path.write_text(
            path.read_text().partition("plugins:")[0]
            + f"plugins:\n  - {{use: ollama, options: {{base_url: '{url}'}}}}\n"
        )
        found = checks(doctor(home, "--config", str(path), "--json"))
        server.shutdown()
    check = found["models of ollama"]
    assert check["outcome"] == "warned"
    assert "lists no models" in check["reason"]
    assert url in check["reason"]
    assert found["models"]["reason"] == "no backend lists any models"


class Nothing(BaseHTTPRequestHandler):
    """A server that has nothing."""

    def do_GET(self):
        self.send_error(404)

    do_POST = do_GET

    def log_message(self, *_):
        """Says nothing."""


def test_the_file_that_sets_the_base_url_is_named_the_strongest_first(home):
    path, url = config(home)
    user, project = home / ".claude" / "settings.json", home / "work" / ".claude" / "settings.json"
    for file, address in ((user, url), (project, "http://127.0.0.1:4000")):
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps({"env": {"ANTHROPIC_BASE_URL": address}}))
    at_home = checks(doctor(home, "--config", str(path), "--json", "--no-models"))["base url"]
    assert at_home["outcome"] == "passed"
    assert str(user) in at_home["reason"]
    env = {"HOME": str(home), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [PLUGWAY, "doctor", "--config", str(path), "--json", "--no-models"],
        capture_output=True, text=True, env=env, cwd=home / "work", timeout=60,
    )  # fmt: skip
    there = checks(done)["base url"]
    assert there["outcome"] == "failed"
    assert ".claude/settings.json points Claude Code to http://127.0.0.1:4000" in there["reason"]


def test_the_shells_variable_comes_last(home):
    path, _ = config(home)
    words = ("--config", str(path), "--json", "--no-models")
    found = checks(doctor(home, *words, ANTHROPIC_BASE_URL="http://other:1"))["base url"]
    assert found["reason"] == "the variable ANTHROPIC_BASE_URL points Claude Code to http://other:1"
    assert not found["fixable"]


def test_a_token_that_others_can_read_is_replaced_on_request(home):
    path, _ = config(home)
    words = ("--config", str(path), "--json", "--no-models")
    doctor(home, *words)
    token = home / ".local/state/plugway/token"
    before = token.read_text()
    token.chmod(0o644)
    told = checks(doctor(home, *words))["token"]
    assert (told["outcome"], told["fixable"]) == ("failed", True)
    assert checks(doctor(home, *words, "--fix"))["token"]["outcome"] == "passed"
    assert token.read_text() != before


def test_a_client_that_is_missing_is_no_failure_of_the_gateway(home):
    path, _ = config(home)
    (home / "bin" / "claude").unlink()
    found = checks(doctor(home, "--config", str(path), "--json", "--no-models", PATH="/nowhere"))
    assert found["claude code"]["outcome"] == "warned"
    assert found["claude code"]["fix"].startswith("run `npm install")


def test_a_person_reads_a_line_for_each_check(home):
    path, _ = config(home)
    done = doctor(home, "--config", str(path), "--no-models")
    assert "  ok  configuration: " in done.stdout
    assert "      -> run `plugway serve`" in done.stdout
    assert done.stdout.rstrip().endswith("warnings")
    assert done.returncode == 4


def settings(home, **env):
    path = home / ".claude/settings.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"env": env}))
    return path


def test_a_token_that_the_gateway_does_not_take_is_found_with_its_place(home):
    path, url = config(home)
    place = settings(home, ANTHROPIC_BASE_URL=url, ANTHROPIC_AUTH_TOKEN="stale")
    found = checks(doctor(home, "--config", str(path), "--json", "--no-models"))["credential"]
    assert found["outcome"] == "failed"
    assert str(place) in found["reason"]
    assert "stale" not in found["reason"]
    assert "plugway setup claude-code" in found["fix"]


def test_a_missing_token_is_found_and_the_right_one_passes(home):
    path, url = config(home)
    settings(home, ANTHROPIC_BASE_URL=url)
    found = checks(doctor(home, "--config", str(path), "--json", "--no-models"))["credential"]
    assert found["outcome"] == "failed"
    (token,) = home.rglob("plugway/token")
    settings(home, ANTHROPIC_BASE_URL=url, ANTHROPIC_AUTH_TOKEN=token.read_text().strip())
    found = checks(doctor(home, "--config", str(path), "--json", "--no-models"))["credential"]
    assert found["outcome"] == "passed"


def test_a_configuration_without_auto_mode_is_told_the_line_to_add(home):
    path, _ = config(home)
    found = checks(doctor(home, "--config", str(path), "--json", "--no-models"))["auto mode"]
    assert found["outcome"] == "warned"
    assert f"add `- use: auto-mode` to {path}" in found["fix"]
    path.write_text(path.read_text().replace("plugins:\n", "plugins:\n  - use: auto-mode\n"))
    found = checks(doctor(home, "--config", str(path), "--json", "--no-models"))["auto mode"]
    assert found["outcome"] == "passed"


def test_a_client_that_checks_calls_by_itself_is_told(home):
    path, _ = config(home)
    settings(home, CLAUDE_CODE_AUTO_MODE_SERVER="0")
    found = checks(doctor(home, "--config", str(path), "--json", "--no-models"))
    assert found["auto mode of the client"]["outcome"] == "warned"
    assert "claude-sonnet-5" in found["auto mode of the client"]["reason"]


def acting(home, script):
    """A `claude` that does what `script` says where it is not asked for its version."""
    binary = home / "bin" / "claude"
    binary.write_text(
        f"#!/bin/sh\ncase $* in *--version) echo '2.1.329 (Claude Code)'; exit;; esac\n{script}\n"
    )


def test_the_agents_task_is_judged_by_the_file(home):
    path, _ = config(home)
    acting(home, "echo hi > hello.txt")
    words = ("--config", path.name, "--json", "--agent")  # the task runs in another folder
    assert checks(doctor(home, *words))["agent"]["outcome"] == "passed"
    acting(home, "echo ho > hello.txt")
    assert "contains 'ho\\n' instead" in checks(doctor(home, *words))["agent"]["reason"]


def test_what_the_api_said_is_told_of_a_task_that_failed(home):
    path, _ = config(home)
    acting(home, "echo 'some warning' >&2; echo 'API Error: 500 out of cats'; exit 1")
    agent = checks(doctor(home, "--config", str(path), "--json", "--agent"))["agent"]
    assert agent["outcome"] == "failed"
    assert "API Error: 500 out of cats" in agent["reason"]
    assert "warning" not in agent["reason"]


@pytest.mark.slow
def test_a_task_that_does_not_end_is_ended_with_all_that_it_started(home):
    path, _ = config(home)
    acting(home, f"trap '' TERM; echo $$ > {home}/pid; sleep 600 & wait; sleep 600")
    words = ("--config", str(path), "--json", "--agent", "--seconds", "2")
    agent = checks(doctor(home, *words))["agent"]
    assert agent["outcome"] == "failed"
    assert "timed out after 2 s" in agent["reason"]
    assert "--seconds" in agent["fix"]
    with suppress(psutil.NoSuchProcess):  # what is left of it is collected by its new parent
        task = psutil.Process(int((home / "pid").read_text()))
        for _ in range(200):
            if task.status() == psutil.STATUS_ZOMBIE:
                break
            threading.Event().wait(0.05)
        else:
            pytest.fail(f"it is {task.status()} ten seconds later")


def test_no_task_is_tried_on_a_model_that_fails_a_plain_request(home):
    path, _ = config(home)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{found.getsockname()[1]}"
    backend = f"{{use: anthropic-compatible, options: {{base_url: '{closed}', models: [m]}}}}"
    path.write_text(f"{path.read_text().partition('plugins:')[0]}plugins:\n  - {backend}\n")
    acting(home, f"touch {home}/ran")
    found = checks(doctor(home, "--config", str(path), "--json", "--agent"))
    assert found["agent"]["outcome"] == "skipped"
    assert "connection refused" in found["agent"]["reason"]
    assert not (home / "ran").exists()


def test_a_model_that_nobody_knows_is_told_in_place_of_the_task(home):
    path, _ = config(home)
    words = ("--config", str(path), "--json", "--agent", "--model", "nowhere")
    agent = checks(doctor(home, *words))["agent"]
    assert agent["outcome"] == "failed"
    assert "unknown model `nowhere`" in agent["reason"]
