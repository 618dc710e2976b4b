"""The steps of a new user: one command in a fresh home, with the real Claude Code."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.claude import claude_binary

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(300)]
STACK = "[{use: mcp}, {use: switch}, {use: recommend}, {use: echo}]"
PLUGWAY = Path(sys.executable).with_name("plugway")


@pytest.fixture
def fresh(tmp_path):
    """Runs commands in an empty home, where no model server can be found."""
    home, project = tmp_path / "home", tmp_path / "project"
    home.mkdir()
    project.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    env = {
        "HOME": str(home),
        "PATH": os.defpath,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
    }

    def run(*words):
        return subprocess.run(
            words, env=env, cwd=project, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=200, check=False,
        )  # fmt: skip

    yield home, project, port, run
    run(PLUGWAY, "up", "--port", str(port), "--stop")


def test_one_command_produces_an_answer_and_a_file(fresh):
    home, project, port, run = fresh
    done = run(
        PLUGWAY, "claude", "--port", str(port), "--claude", claude_binary(),
        "--", "-p", "create hello.txt with the text hi", "--permission-mode", "acceptEdits",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (project / "hello.txt").read_text() == "hi", done.stdout + done.stderr
    assert "hello.txt" in done.stdout
    for words in ("local/demo", "stream: passed", "tool: passed"):
        assert words in done.stderr
    assert not (home / ".claude/settings.json").exists()
    assert not (home / ".config/plugway").exists()
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", port)) != 0, "the gateway was stopped"


def test_after_a_set_up_the_client_starts_the_gateway_by_itself(fresh):
    home, _, port, run = fresh
    config = home / "plugway.yaml"
    config.write_text(f"server: {{port: {port}}}\nplugins: {STACK}\n")
    setup = [PLUGWAY, "setup", "claude-code", "--config", str(config)]
    done = run(*setup)
    assert done.returncode == 0, done.stderr
    answer = run(claude_binary(), "-p", "good morning")
    assert answer.returncode == 0, answer.stderr
    assert "You said: good morning" in answer.stdout
    servers = run(claude_binary(), "mcp", "list").stdout
    assert re.search(r"plugway: http://127\.0\.0\.1:\d+/mcp .*Connected", servers), servers
    assert run(*setup, "--undo").returncode == 0
    settings = home / ".claude/settings.json"
    assert not settings.exists() or "ANTHROPIC_BASE_URL" not in settings.read_text()
    state = json.loads((home / ".claude.json").read_text())
    assert "plugway" not in state.get("mcpServers", {})
    assert run(PLUGWAY, "up", "--config", str(config), "--stop").returncode == 0


def test_settings_of_other_tools_do_not_bypass_the_gateway(fresh):
    home, _, port, run = fresh
    config = home / "plugway.yaml"
    config.write_text(f"server: {{port: {port}}}\nplugins: [{{use: echo}}]\n")
    stale = {
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:9",
        "ANTHROPIC_API_KEY": "sk-stale",
        "ANTHROPIC_MODEL": "claude-stale",
        "CLAUDE_CODE_USE_BEDROCK": "1",
    }
    settings = home / ".claude/settings.json"
    settings.parent.mkdir()
    settings.write_text(json.dumps({"env": stale, "model": "opus", "apiKeyHelper": "echo sk-old"}))
    before = settings.read_bytes()
    done = run(
        PLUGWAY, "claude", "--config", str(config), "--claude", claude_binary(),
        "--", "-p", "good morning",
    )  # fmt: skip
    assert "[echo, " in done.stdout, done.stdout + done.stderr
    assert "You said: good morning" in done.stdout
    assert settings.read_bytes() == before
