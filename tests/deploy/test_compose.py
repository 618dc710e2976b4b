"""What `deploy/compose.yaml` starts; `test_tools` reads it with Docker Compose, `test_image` runs its configuration."""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import yaml

from plugway.config.config import load_config
from tests.deploy.dockerfile import read

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
CONFIG = yaml.safe_load((DEPLOY / "config.yaml").read_text())
each = pytest.mark.parametrize("name", SERVICES)


def seconds(text):
    return float(text.removesuffix("s"))


def files(node):
    """The secret files that a configuration names."""
    if isinstance(node, dict):
        return {node["$file"]} if "$file" in node else set().union(*map(files, node.values()))
    return set().union(*map(files, node)) if isinstance(node, list) else set()


@each
def test_a_service_runs_confined(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices"} & service.keys()
    user = service.get("user") or read(DEPLOY / "Dockerfile")[-1].one("USER")
    assert not user.startswith(("0", "root"))
    for volume in service.get("volumes", []):
        assert volume.partition(":")[0] in COMPOSE["volumes"], "no folder of the host"


@each
def test_only_the_gateway_is_published_and_only_on_loopback(name):
    ports = SERVICES[name].get("ports", [])
    assert bool(ports) == (name == "gateway")
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert (SERVICES[name]["networks"] == ["inside"]) == (name != "gateway")
    assert COMPOSE["networks"]["inside"]["internal"] is True


def test_the_gateway_waits_for_databases_that_are_healthy():
    waits = SERVICES["gateway"]["depends_on"]
    assert waits.keys() == {"database", "counters"}
    for name, condition in waits.items():
        assert condition == {"condition": "service_healthy"}
        assert "healthcheck" in SERVICES[name]


def test_a_stop_leaves_time_to_finish_what_runs():
    grace = seconds(SERVICES["gateway"]["stop_grace_period"])
    assert grace >= CONFIG["server"]["drain_seconds"] + 4


def test_each_secret_is_a_file_and_reaches_those_who_name_it():
    named = {Path(name).name for name in files(CONFIG)}
    assert named == set(SERVICES["gateway"]["secrets"]) == COMPOSE["secrets"].keys()
    assert all(name.startswith("/run/secrets/") for name in files(CONFIG))
    for name, service in SERVICES.items():
        written = " ".join([str(service.get(k)) for k in ("command", "environment", "healthcheck")])
        used = set(re.findall(r"/run/secrets/(\w+)", written))
        assert used <= set(service["secrets"])
        assert name == "gateway" or used == set(service["secrets"])
    ignored = (DEPLOY / ".gitignore").read_text().splitlines()
    assert "secrets/" in ignored


def test_the_configuration_is_valid(tmp_path):
    text = (DEPLOY / "config.yaml").read_text().replace("/run/secrets", str(tmp_path))
    for name in files(CONFIG):
        path = tmp_path / Path(name).name
        path.write_text(f"the-secret-of-{path.name}")
        path.chmod(0o600)
    path = tmp_path / "config.yaml"
    path.write_text(text)
    config = load_config(path)
    assert config.server.token.get_secret_value() == "the-secret-of-gateway_token"


def shell(text, folder):
    """A command of the file as its shell gets it, with secrets in `folder`."""
    return text.replace("$$", "$").replace("/run/secrets", str(folder))


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="Redis is not installed")
@pytest.mark.parametrize(
    "password", ["0123456789abcdef", 'with "quotes", \\ and #'], ids=["plain", "with quotes"]
)
def test_the_counters_want_their_password_and_their_health_check_knows_it(tmp_path, password):
    service = SERVICES["counters"]
    secret = tmp_path / "counters_password"
    secret.write_text(password)
    kind, check = service["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    socket = tmp_path / "redis.sock"
    start = shell(service["command"][2], tmp_path)
    start = start.replace("redis-server -", f"redis-server --port 0 --unixsocket {socket} -")
    ask = shell(check, tmp_path).replace("redis-cli", f"redis-cli -s {socket}")
    server = subprocess.Popen(
        ["sh", "-c", start],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        for line in server.stdout:
            if "ready to accept connections" in line.lower():
                break
        assert subprocess.run(["sh", "-c", ask], check=False).returncode == 0
        secret.write_text("another password")
        denied = subprocess.run(["sh", "-c", ask], check=False, capture_output=True)
        assert denied.returncode != 0
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.communicate()
