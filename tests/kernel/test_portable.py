"""A gateway serves without anything that Windows lacks."""

import re
import signal
import subprocess
import sys

import httpx2
import pytest
import yaml

from plugway.testing import request_body
from plugway_http.server import bind
from plugway_http.server.port_owner import port_owner
from tests.like_windows import ROOT
from tests.slow import quick_first

STACK = ROOT / "plugins/starter/src/plugway_starter/stack.yaml"
TOKEN = "a-token-for-a-process-like-windows"


@pytest.fixture
def config(tmp_path):
    """The stack of a first start; `echo` stands for the engine, which is a process of its own."""
    stack = yaml.safe_load(STACK.read_text())
    stack["server"] = {"port": 0, "token": TOKEN}
    stack["plugins"][-1] = {"use": "echo", "name": "local"}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(stack))
    path.chmod(0o600)
    return path


def read_until(stream, pattern):
    said = ""
    while not (found := re.search(pattern, said)):
        line = stream.readline()
        assert line, said
        said += line
    return found[0]


@pytest.mark.parametrize("number", quick_first([signal.SIGTERM, signal.SIGINT], 1))
def test_it_serves_reloads_a_changed_file_and_ends_on_a_signal(config, number):
    command = [sys.executable, "-m", "tests.like_windows", "serve", "--config", str(config)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            url = read_until(process.stderr, r"http://127.0.0.1:\d+")
            answer = httpx2.post(
                f"{url}/v1/messages",
                json=request_body("hi"),
                headers={"x-api-key": TOKEN},
                timeout=20,
                trust_env=False,
            )
            assert "You said: hi" in answer.json()["content"][0]["text"]
            config.write_text(f"{config.read_text()}# changed\n")
            read_until(process.stderr, "the config was reloaded")
            process.send_signal(number)
            assert process.wait(20) == 0
            assert "Traceback" not in process.stderr.read()
        finally:
            process.kill()


def test_without_proc_the_message_names_a_command_of_the_system(monkeypatch):
    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr("plugway_http.server.port_owner._listening", lambda port: iter(()))
        assert "lsof" in port_owner(port).description
        monkeypatch.setattr(sys, "platform", "win32")
        assert f"netstat -ano | findstr :{port}" in port_owner(port).description
