"""The gateway as a service: its report to systemd, its environment, its log, and its state."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from plugway import PlugwayError
from plugway_service import _launchd, _logs, _serve, _systemd, find
from plugway_service._model import Service, Step, exit_meaning

from .conftest import free_port

PLUGWAY = Path(sys.executable).with_name("plugway")


def test_the_gateway_reports_to_systemd_once_it_answers(tmp_path):
    """`sd_notify(3)`: a datagram to `NOTIFY_SOCKET`; the process that answers is the one started."""
    port = free_port()
    config = tmp_path / "config.yaml"
    config.write_text(f"server: {{port: {port}}}\nplugins: [{{use: echo}}]\n")
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(name)
        channel.settimeout(60)
        environment = {"HOME": str(tmp_path), "PATH": os.defpath, "NOTIFY_SOCKET": name}
        words = [PLUGWAY, "service", "serve", "--config", config]
        with subprocess.Popen(words, env=environment, stderr=subprocess.DEVNULL) as child:
            try:
                said = channel.recv(4096).decode()
                with socket.create_connection(("127.0.0.1", port), 5) as client:
                    client.sendall(b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
                    assert client.recv(100).startswith(b"HTTP/1.1 200")
            finally:
                child.send_signal(signal.SIGTERM)
            assert child.wait(40) == 0
    assert said == f"READY=1\nSTATUS=answers at http://127.0.0.1:{port}"


def test_another_gateway_on_the_port_is_not_reported_as_ready(monkeypatch):
    """It asks until the one that answers is its own process."""
    answers = iter([None, {"pid": os.getpid() + 1}, PlugwayError("busy"), {"pid": os.getpid()}])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        class Gateway:
            url, port = f"http://127.0.0.1:{listener.getsockname()[1]}", listener.getsockname()[1]

            def state(self):
                answer = next(answers)
                if isinstance(answer, Exception):
                    raise answer
                return answer

        sent = []
        monkeypatch.setattr(_serve, "LocalGateway", SimpleNamespace(find=lambda *_: Gateway()))
        monkeypatch.setattr(_serve, "notify", lambda target, text: sent.append(text))
        _serve._report_ready("unused", None, port)
    assert len(sent) == 1
    assert next(answers, None) is None


def test_an_abstract_address_is_used_as_systemd_means_it():
    name = f"plugway-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(f"\0{name}")
        channel.settimeout(5)
        _serve.notify(f"@{name}", "READY=1")
        assert channel.recv(100) == b"READY=1"


def test_an_environment_file_is_read_as_systemd_reads_it(tmp_path):
    file = tmp_path / "environment"
    file.write_text("# a key\n; another comment\n\nA=1\nB=\"two words\"\n C = 'x=y' \nD=\n")
    assert _serve.variables_in(file) == {"A": "1", "B": "two words", "C": "x=y", "D": ""}
    assert _serve.variables_in(tmp_path / "none") == {}


@pytest.mark.parametrize("line", ["export A=1", "A", "1A=2", 'KEY="secret-value'])
def test_a_wrong_line_is_named_without_its_value(tmp_path, line):
    file = tmp_path / "environment"
    file.write_text(f"OK=1\n{line}\n")
    with pytest.raises(PlugwayError, match="line 2") as error:
        _serve.variables_in(file)
    assert "secret-value" not in str(error.value)


def shown(**values):
    """What `systemctl show` prints; recorded with systemd 252."""
    common = {
        "Result": "success",
        "NRestarts": "0",
        "MainPID": "0",
        "ExecMainStatus": "0",
        "ActiveState": "inactive",
        "SubState": "dead",
        "UnitFileState": "enabled",
        "ActiveEnterTimestampMonotonic": "14335741720",
    }
    return "".join(f"{name}={value}\n" for name, value in (common | values).items())


def systemd_state(monkeypatch, output):
    monkeypatch.setattr(_systemd, "run", lambda *_: SimpleNamespace(stdout=output, returncode=0))
    return _systemd.Systemd().state("plugway")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, ""),
        ({"Result": "exit-code", "ExecMainStatus": "2"}, "`plugway check` says where"),
        ({"Result": "exit-code", "ExecMainStatus": "203"}, "its program is missing"),
        ({"Result": "exit-code", "ExecMainStatus": "226"}, "refuses its sandbox"),
        ({"Result": "start-limit-hit", "ExecMainStatus": "3"}, "port is in use"),
        ({"Result": "start-limit-hit"}, "started too often"),
        ({"Result": "signal", "ExecMainStatus": "9"}, "killed by signal 9"),
        ({"Result": "oom-kill", "ExecMainStatus": "9"}, "ran out of memory"),
        (
            {
                "Result": "exit-code",
                "ExecMainStatus": "1",
                "ActiveState": "activating",
                "SubState": "auto-restart",
            },
            "will be started again",
        ),
    ],
)
def test_the_reason_of_a_failure_is_named_in_words(monkeypatch, values, expected):
    failure = systemd_state(monkeypatch, shown(**values)).failure
    assert expected in failure
    assert bool(failure) is bool(expected)


def test_a_service_that_is_starting_has_not_failed(monkeypatch):
    state = systemd_state(monkeypatch, shown(ActiveState="activating", SubState="start"))
    assert (state.starting, state.running, state.failure) == (True, False, "")


def test_a_system_that_says_nothing_is_not_an_error(monkeypatch):
    state = systemd_state(monkeypatch, "")
    assert (state.running, state.enabled, state.failure) == (False, False, "")


@pytest.mark.parametrize(
    ("output", "pid", "failure"),
    [
        (
            "gui/501/plugway = {\n\tstate = running\n\n\tpid = 4711\n\tlast exit code = 0\n}\n",
            4711,
            "",
        ),
        (
            "gui/501/plugway = {\n\tstate = not running\n\tlast exit code = 2\n}\n",
            None,
            "exit code 2",
        ),
        ("gui/501/plugway = {\n\tlast exit code = (never exited)\n}\n", None, ""),
        ("an entirely new format", None, ""),
    ],
)
def test_what_launchd_prints_is_read_where_it_is_known(monkeypatch, output, pid, failure):
    monkeypatch.setattr(_launchd, "run", lambda *_: SimpleNamespace(stdout=output, returncode=0))
    state = _launchd.Launchd().state("plugway")
    assert (state.pid, state.running) == (pid, pid is not None)
    assert state.failure.startswith(failure)
    assert bool(state.failure) is bool(failure)


def test_every_exit_code_of_serve_has_a_meaning():
    assert len({exit_meaning(code) for code in (1, 2, 3, 99)}) == 4


def service(log):
    return Service("default", None, 8484, False, log)


def test_a_log_that_grows_is_followed_and_survives_being_emptied(tmp_path):
    file = tmp_path / "log"
    file.write_text("one\ntwo\nthree\n")
    lines = _logs.log_lines(_systemd.Systemd(), service(file), 2, follow=True)
    assert [next(lines), next(lines)] == ["two", "three"]
    with file.open("a") as log:
        log.write("four\n")
    assert next(lines) == "four"
    file.write_text("new\n")
    assert next(lines) == "new"
    lines.close()


def test_a_journal_that_cannot_be_read_is_explained(monkeypatch):
    """Recorded with systemd 252, for a user outside of the group `systemd-journal`."""
    said = (
        "Hint: You are currently not seeing messages from the system.\n"
        "      Users in the 'systemd-journal' group can see all messages. Pass -q to\n"
        "      turn off this notice.\n"
        "No journal files were opened due to insufficient permissions.\n"
    )
    done = SimpleNamespace(returncode=1, stderr=said, stdout="")
    monkeypatch.setattr(_logs, "run", lambda *_: done)
    for follow in (False, True):
        with pytest.raises(PlugwayError, match="usermod -aG systemd-journal"):
            list(_logs.log_lines(_systemd.Systemd(), service(None), 5, follow=follow))


def test_a_log_that_does_not_exist_yet_is_named(tmp_path):
    with pytest.raises(PlugwayError, match="no log yet"):
        list(_logs.log_lines(_systemd.Systemd(), service(tmp_path / "no"), 5, follow=False))


def test_a_step_that_needs_patience_is_repeated_until_it_works(monkeypatch):
    codes = iter([5, 5, 0, 1])
    asked = []

    def run(words):
        asked.append(words)
        return SimpleNamespace(returncode=next(codes), stderr="Bootstrap failed: 5", stdout="")

    monkeypatch.setattr(find, "run", run)
    monkeypatch.setattr(find, "_RETRY_SECONDS", 0)
    find.carry_out([Step(["launchctl", "bootstrap"], patience=60)])
    assert len(asked) == 3
    with pytest.raises(PlugwayError, match="`false` failed: Bootstrap failed: 5"):
        find.carry_out([Step(["false"])])
