"""`plugway service`: what it writes, runs and refuses, on a scripted systemd."""

from __future__ import annotations

import json
import os
import socket
import stat
from contextlib import suppress
from pathlib import Path
from threading import Thread

import httpx2
import pytest
import typer

from plugway import LocalGateway, PlugwayError
from plugway_service import _checks, _commands
from plugway_service.find import installed_on, start


def health(port):
    return httpx2.get(f"http://127.0.0.1:{port}/health", trust_env=False).status_code


def test_a_service_is_installed_shown_and_uninstalled(machine):
    done = machine.install("--json")
    assert done.returncode == 0, done.stderr
    assert f"write {machine.unit()}:" in done.stderr
    report = json.loads(done.stdout)
    assert (report["isolated"], report["changed"], report["name"]) == (True, True, "default")
    assert report["commands"][-1] == ["systemctl", "--user", "restart", "plugway.service"]
    assert health(machine.port) == 200
    environment = Path(report["environment_file"])
    assert stat.S_IMODE(environment.stat().st_mode) == 0o600

    shown = machine.run("status", "--json")
    (row,) = json.loads(shown.stdout)["services"]
    assert (shown.returncode, row["running"], row["enabled"]) == (0, True, True)
    assert (row["config"], row["failure"]) == (str(machine.config), None)
    assert row["since"].startswith("20")
    assert f"runs at http://127.0.0.1:{machine.port}" in machine.run("status").stdout

    log = machine.run("logs", "-n", "500")
    assert "listens on" in log.stdout
    assert all(
        "line" in json.loads(line) for line in machine.run("logs", "--json").stdout.splitlines()
    )

    again = machine.install("--dry-run", "--json")
    assert json.loads(again.stdout)["changed"] is False, again.stderr

    gone = machine.run("uninstall", "--yes", "--json")
    assert gone.returncode == 0, gone.stderr
    assert not machine.unit().exists()
    assert not (machine.unit().parent / "default.target.wants/plugway.service").is_symlink()
    assert str(machine.config) in json.loads(gone.stdout)["left"]
    with pytest.raises(httpx2.ConnectError):
        health(machine.port)
    assert machine.run("status").returncode == 4


def test_a_service_that_fails_is_reported_with_the_reason_and_its_log(machine):
    assert machine.install().returncode == 0
    machine.configure("[{use: no-such-plugin}]")

    with pytest.MonkeyPatch.context() as patch:
        for name, value in machine.variables().items():
            patch.setenv(name, value)
        for name in [name for name in os.environ if name.startswith("XDG_")]:
            patch.delenv(name)
        service = installed_on(machine.port, machine.config)
        assert service is not None
        assert installed_on(machine.port, machine.home / "other.yaml") is None
        with pytest.raises(PlugwayError, match=r"does not start: exit code 2.*service logs"):
            start(service)
    shown = machine.run("status", "--json")
    (row,) = json.loads(shown.stdout)["services"]
    assert (shown.returncode, row["running"]) == (3, False)
    assert "`plugway check` says where" in row["failure"]
    assert any("no-such-plugin" in line for line in row["log"])


@pytest.fixture
def quick(monkeypatch):
    """Leaves out the run of `plugway check`, which other tests have."""
    monkeypatch.setattr(_checks, "_problems", lambda words, variables: "")


def test_nothing_is_written_without_consent(machine, quick):
    before = machine.files()
    done = machine.run("install", "--config", str(machine.config))
    assert done.returncode == 1
    assert "confirm with `--yes`" in done.stderr
    assert machine.install("--dry-run").returncode == 0
    assert machine.files() == before


@pytest.mark.parametrize(
    ("answer", "code"), [(typer.Abort(), 130), (KeyboardInterrupt(), 130), (False, 1)]
)
def test_ctrl_c_or_no_changes_nothing(machine, quick, monkeypatch, answer, code):
    def ask(*_, **__):
        if isinstance(answer, BaseException):
            raise answer
        return answer

    monkeypatch.setattr(_commands.typer, "confirm", ask)
    monkeypatch.setattr(_commands.sys.stdin, "isatty", lambda: True, raising=False)
    before = machine.files()
    done = machine.run("install", "--config", str(machine.config))
    assert (done.returncode, machine.files()) == (code, before)
    assert "nothing was changed" in done.stderr


def test_a_unit_of_somebody_else_stays(machine, quick):
    machine.unit().parent.mkdir(parents=True)
    machine.unit().write_text("[Service]\nExecStart=/opt/mine\n")
    for done in (machine.install(), machine.run("uninstall", "--yes")):
        assert done.returncode == 1
        assert "was not written by Plugway" in done.stderr
    assert machine.text() == "[Service]\nExecStart=/opt/mine\n"
    assert machine.run("status").returncode == 4
    machine.unit().unlink()


def test_a_copy_of_a_unit_does_not_stand_for_the_original(machine, quick):
    machine.unit().parent.mkdir(parents=True)
    shown = machine.install("--dry-run").stderr.partition(":\n")[2].partition("\nwrite ")[0]
    machine.unit("plugway-copy").write_text(shown)
    for words in (["uninstall", "--yes"], ["logs"], ["install", "--yes"]):
        done = machine.run(*words, "--name", "copy")
        assert done.returncode == 1
        assert "plugway-copy.service` was not written by Plugway" in done.stderr
    assert machine.run("status").returncode == 4
    machine.unit("plugway-copy").unlink()


@pytest.mark.parametrize("target", ["/dev/null", "/nowhere"])
def test_a_masked_or_dangling_unit_stays(machine, quick, target):
    """`systemctl mask` links a unit to `/dev/null`."""
    machine.unit().parent.mkdir(parents=True)
    machine.unit().symlink_to(target)
    done = machine.install()
    assert (done.returncode, "was not written by Plugway" in done.stderr) == (1, True)
    assert str(machine.unit().readlink()) == target
    machine.unit().unlink()


def test_a_broken_file_does_not_hide_what_systemd_says(machine, quick):
    machine.unit().parent.mkdir(parents=True)
    shown = machine.install("--dry-run").stderr.partition(":\n")[2].partition("\nwrite ")[0]
    machine.unit().write_text("\n".join(line.removeprefix("  ") for line in shown.splitlines()))
    machine.config.write_text("plugins: [")
    done = machine.run("status")
    assert (done.returncode, done.stdout.splitlines()[0]) == (3, "default: is stopped")
    assert "problem" in done.stdout
    (machine.state / "no-bus").touch()
    assert machine.run("status").stdout.splitlines()[0] == "default: unknown"
    machine.unit().unlink()


def test_a_service_of_the_stack_is_that_of_the_default_configuration(machine, quick):
    machine.unit().parent.mkdir(parents=True)
    shown = machine.run("install", "--dry-run", "--port", str(machine.port)).stderr
    text = shown.partition(":\n")[2].partition("\nwrite ")[0]
    machine.unit().write_text("\n".join(line.removeprefix("  ") for line in text.splitlines()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(machine.home))
        for name in [name for name in os.environ if name.startswith("XDG_")]:
            patch.delenv(name)
        default = machine.home / ".config/plugway/config.yaml"
        assert installed_on(machine.port, None) == installed_on(machine.port, default) is not None
        assert installed_on(machine.port, machine.config) is None
        assert installed_on(machine.port + 1, None) is None
    machine.unit().unlink()


def test_a_change_is_shown_as_a_diff(machine, quick):
    machine.install("--dry-run")
    machine.unit().parent.mkdir(parents=True)
    shown = machine.install("--dry-run").stderr
    text = shown.partition(":\n")[2].partition("\nwrite ")[0]
    lines = [line.removeprefix("  ") for line in text.splitlines()]
    machine.unit().write_text("\n".join([*lines, ""]))
    assert "has not changed" in machine.install("--dry-run").stderr
    machine.unit().write_text(machine.text().replace("RestartSec=2", "RestartSec=9"))
    diff = machine.install("--dry-run").stderr
    assert "  -RestartSec=9\n  +RestartSec=2\n" in diff
    machine.unit().unlink()


def test_a_broken_configuration_stops_before_anything_is_written(machine):
    machine.configure("[{use: echo, options: {nonsense: 1}}]")
    before = machine.files()
    done = machine.install()
    assert done.returncode == 1
    assert "nothing was written" in done.stderr
    assert "nonsense" in done.stderr
    assert machine.files() == before


def test_a_variable_of_the_shell_is_not_one_of_the_service(machine, monkeypatch):
    machine.configure(more=", token: {$env: GATEWAY_TOKEN}")
    token = {"GATEWAY_TOKEN": "token-0123456789-0123456789-abcdef"}
    shell = machine.variables() | token
    monkeypatch.setattr(machine, "variables", lambda: shell)
    done = machine.install()
    assert done.returncode == 1
    file = machine.home / ".config/plugway/environment"
    assert f"put them into {file}" in done.stderr
    file.parent.mkdir(parents=True)
    file.write_text(f"# keys\nGATEWAY_TOKEN={token['GATEWAY_TOKEN']}\n")
    done = machine.install("--dry-run")
    assert done.returncode == 0, done.stderr
    assert token["GATEWAY_TOKEN"] not in done.stderr


def test_root_must_say_so(machine, quick, monkeypatch):
    monkeypatch.setattr(_checks, "_is_root", lambda: True)
    done = machine.install("--dry-run")
    assert done.returncode == 1
    assert "--as-root" in done.stderr
    assert machine.install("--dry-run", "--as-root").returncode == 0


def test_an_environment_that_may_vanish_is_refused(machine, quick, monkeypatch):
    monkeypatch.setattr(_checks, "_temporary_folders", lambda: [(Path("/"), "a temporary folder")])
    done = machine.install()
    assert done.returncode == 1
    assert "the command `plugway` is" in done.stderr
    assert "would stop working" in done.stderr


@pytest.mark.parametrize("name", ["/tmp/x/plugway", "/dev/shm/a", "/run/user/1/a"])
def test_temporary_folders_and_caches_are_known(name, monkeypatch):

    monkeypatch.setenv("XDG_CACHE_HOME", "/home/ann/.cache")
    for path in (name, "/home/ann/.cache/uv/archive-v0/x/bin/plugway"):
        with pytest.raises(PlugwayError, match="stop working"):
            _checks.lasting({"it": Path(path)})
    _checks.lasting({"it": Path("/home/ann/plugway/.venv"), "other": None})


def test_a_port_in_use_is_refused_with_its_owner(machine, quick):
    with socket.create_server(("127.0.0.1", machine.port)) as listener:
        listener.settimeout(20)

        def answer():
            with suppress(TimeoutError):
                listener.accept()[0].close()

        thread = Thread(target=answer)
        thread.start()
        done = machine.install()
        thread.join()
    assert done.returncode == 1
    assert f"port {machine.port} is in use by process {os.getpid()}" in done.stderr


def test_two_services_have_different_ports(machine, quick):
    assert machine.install().returncode == 0
    same = machine.install("--name", "work")
    assert same.returncode == 1
    assert f"the service `default` has port {machine.port}" in same.stderr
    machine.port += 1
    other = machine.install("--name", "work", "--port", str(machine.port), "--dry-run")
    assert other.returncode == 0, other.stderr
    assert f'"--port" "{machine.port}"' in other.stderr


def test_without_a_session_bus_the_message_says_what_to_do(machine, quick):
    (machine.state / "no-bus").touch()
    done = machine.install()
    assert done.returncode == 1
    for words in ("No medium found", "enable-linger", "XDG_RUNTIME_DIR", "not with `su`"):
        assert words in done.stderr
    assert not machine.unit().exists()


def test_without_systemd_the_message_says_so(machine, quick):
    for file in machine.bin.iterdir():
        file.unlink()
    empty = machine.variables() | {"PATH": str(machine.bin)}
    machine.variables = lambda: empty
    done = machine.install()
    assert (done.returncode, "does not use systemd" in done.stderr) == (1, True)


def test_a_system_without_user_namespaces_gets_the_rest_of_the_sandbox(machine, quick):
    (machine.state / "no-namespaces").touch()
    done = machine.install("--dry-run", "--json")
    assert json.loads(done.stdout)["isolated"] is False
    assert "  SystemCallFilter=@system-service" in done.stderr
    assert "\n  PrivateUsers=yes" not in done.stderr
    (machine.state / "no-namespaces").unlink()
    assert "\n  PrivateUsers=yes" in machine.install("--dry-run").stderr
    assert "\n  PrivateUsers=yes" not in machine.install("--dry-run", "--no-isolate").stderr


def test_a_folder_that_cannot_be_written_is_named(machine, quick):
    (machine.home / ".config").mkdir()
    (machine.home / ".config/systemd").write_text("not a folder")
    done = machine.install()
    assert done.returncode == 1
    assert f"cannot write `{machine.unit()}`: not a directory" in done.stderr.lower()


def test_a_port_that_changes_at_every_start_is_refused(machine, quick):
    machine.port = 0
    machine.configure()
    done = machine.install()
    assert (done.returncode, "set `server.port`" in done.stderr) == (1, True)


def test_the_time_to_stop_covers_the_drain_time(machine, quick):
    machine.configure(more=", drain_seconds: 100")
    assert "  TimeoutStopSec=112\n" in machine.install("--dry-run").stderr
    machine.configure()
    assert "  TimeoutStopSec=40\n" in machine.install("--dry-run").stderr


def test_the_folders_of_this_shell_are_those_of_the_service(machine, quick):
    shell = machine.variables() | {"XDG_STATE_HOME": str(machine.home / "my state")}
    machine.variables = lambda: shell
    shown = machine.install("--dry-run").stderr
    assert 'Environment="XDG_STATE_HOME=' in shown
    assert "/my state/plugway" in shown


def test_a_folder_that_it_may_write_to_is_added(machine, quick):
    missing = machine.install("--dry-run", "--write", "~/.npm")
    assert (missing.returncode, "create it first" in missing.stderr) == (1, True)
    (machine.home / ".npm").mkdir()
    shown = machine.install("--dry-run", "--write", "~/.npm").stderr
    assert '/.npm"' in next(line for line in shown.splitlines() if "ReadWritePaths" in line)


def test_a_configuration_that_does_not_exist_is_named(machine, quick):
    done = machine.run("install", "--config", str(machine.home / "none.yaml"), "--yes")
    assert (done.returncode, "there is no configuration" in done.stderr) == (1, True)


def test_the_gateway_finds_the_configuration_as_serve_does(machine, quick):
    shown = machine.run("install", "--dry-run")
    assert '"service" "serve"\n' in shown.stderr
    path = machine.home / ".config/plugway/config.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(machine.config.read_text())
    assert "/.config/plugway/config.yaml" in machine.run("install", "--dry-run").stderr
    assert LocalGateway.find(path).port == machine.port
