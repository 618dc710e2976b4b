"""Who has a port, found without being root, and what a person is told to type."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from plugway_http.server import BindError, bind
from plugway_http.server import port_owner as _port_owner
from plugway_http.server.port_owner import Owner, port_owner


@pytest.fixture(autouse=True)
def _not_by_make(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAKELEVEL", raising=False)


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def refusal(port: int) -> str:
    with pytest.raises(BindError) as refused:
        bind("127.0.0.1", port)
    return str(refused.value)


def suggested(text: str) -> int:
    """The port in the command that is to be typed."""
    return int(text.rpartition("`")[0].rpartition("`")[2].replace("=", " ").split()[-1])


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_a_taken_port_is_told_with_the_process_and_its_command(taken: int) -> None:
    owner = port_owner(taken)
    assert owner.pid == os.getpid()
    assert owner.command[0] == Path("/proc/self/cmdline").read_text().split("\0")[0]
    text = refusal(taken)
    assert f"port {taken} is in use by process {os.getpid()} ({owner.command[0]}" in text
    assert "stop it, or use another port: `plugway serve --port " in text


def test_the_port_that_is_to_be_typed_can_be_listened_on(taken: int) -> None:
    bind("127.0.0.1", suggested(refusal(taken))).close()


def test_who_started_it_by_make_is_told_to_use_make(
    taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAKELEVEL", "1")
    text = refusal(taken)
    assert f"`make run PORT={suggested(text)}`" in text


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_a_gateway_that_has_the_port_can_be_used_or_stopped(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("server: {port: 0}\nplugins: [{use: echo}]")
    config.chmod(0o600)
    plugway = Path(sys.executable).with_name("plugway")
    env = {"HOME": str(tmp_path), "PATH": os.defpath}
    words = [str(plugway), "serve", "--config", str(config)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=env) as first:
        assert first.stderr is not None
        port = int(first.stderr.readline().rpartition(":")[2])
        second = subprocess.run(
            [*words, "--port", str(port)], env=env, capture_output=True, text=True, check=False
        )
        first.terminate()
        first.communicate()
    assert second.returncode == 3
    assert f"in use by process {first.pid} (" in second.stderr
    assert f"`kill {first.pid}` stops it" in second.stderr
    assert f"`plugway claude --port {port}` uses it" in second.stderr
    assert "Traceback" not in second.stderr


@pytest.mark.parametrize(
    ("command", "gateway"),
    [
        (("/usr/bin/python3", "/x/bin/plugway", "serve"), True),
        (("plugway", "serve", "--port", "1"), True),
        (("plugway", "check"), False),
        (("serve", "plugway"), False),
        ((), False),
    ],
)
def test_a_gateway_is_known_by_its_command(command: tuple[str, ...], gateway: bool) -> None:
    assert Owner(1, command).is_gateway is gateway


def test_a_key_on_the_command_line_of_the_other_is_not_shown() -> None:
    words = Owner(7, ("server", "--api-key", "sk-ant-REDACTED")).description
    assert words.startswith("process 7 (server")
    assert "sk-ant-REDACTED" not in words


def test_a_process_of_another_user_is_told_by_the_user(
    taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_port_owner, "_listening", lambda port: iter([("socket:[0]", 0)]))
    assert "in use by a process of root (`sudo ss -ltnp" in refusal(taken)


def test_where_the_system_tells_nothing_a_command_does(
    taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_port_owner, "_listening", lambda port: iter([]))
    assert f"`lsof -nP -iTCP:{taken} -sTCP:LISTEN` shows which" in refusal(taken)


TWINS = [("127.0.0.1", "::1"), ("::1", "127.0.0.1"), ("0.0.0.0", "::1")]


@pytest.fixture
def twin(request: pytest.FixtureRequest) -> Iterator[int]:
    """A port that this process has on the other address of this machine."""
    if not socket.has_ipv6:
        pytest.skip("there is no IPv6")
    host: str = request.getfixturevalue("other")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize(("host", "other"), TWINS)
def test_another_program_at_the_twin_of_an_address_is_a_warning(
    host: str, other: str, twin: int, caplog: pytest.LogCaptureFixture
) -> None:
    bind(host, twin).close()
    (line,) = caplog.messages
    assert f"port {twin} of {other} is in use by " in line


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
@pytest.mark.parametrize(("host", "other"), TWINS)
def test_another_gateway_at_the_twin_of_an_address_is_refused(
    host: str, other: str, twin: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_port_owner, "_command", lambda _: ("python", "/bin/plugway", "serve"))
    with pytest.raises(BindError, match=f"port {twin} of {other} is in use by process") as refused:
        bind(host, twin)
    assert f"`plugway status --port {twin}` shows its state" in str(refused.value)


def test_all_addresses_of_ipv6_include_those_of_ipv4() -> None:
    if not socket.has_ipv6:
        pytest.skip("there is no IPv6")
    with bind("::", 0) as listener:
        socket.create_connection(("127.0.0.1", listener.getsockname()[1])).close()


def test_a_port_is_not_shared_with_a_process_that_would_share_it(taken: int) -> None:
    with socket.socket() as sharing:
        sharing.setsockopt(
            socket.SOL_SOCKET, getattr(socket, "SO_REUSEPORT", socket.SO_REUSEADDR), 1
        )
        sharing.bind(("127.0.0.1", 0))
        sharing.listen()
        assert "is in use by" in refusal(sharing.getsockname()[1])
    with bind("127.0.0.1", 0) as ours, socket.socket() as sharing:
        sharing.setsockopt(
            socket.SOL_SOCKET, getattr(socket, "SO_REUSEPORT", socket.SO_REUSEADDR), 1
        )
        with pytest.raises(OSError, match="in use"):
            sharing.bind(ours.getsockname())
