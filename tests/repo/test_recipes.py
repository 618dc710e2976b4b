"""The recipes work as they are written: each configuration is valid and serves, each command exists."""

from __future__ import annotations

import os
import re
import sys
import tomllib
from pathlib import Path

import anyio
import httpx2
import pytest

from plugway.cli.main import main
from plugway.config.config import parse_config
from plugway.config.settings import ServerOptions
from plugway.http.app import App
from plugway.http.server import serving
from plugway.testing import ScriptedUpstream, anthropic_message, respond

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs/recipes").glob("*.md"))
LISTENS = ServerOptions().address
BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```", re.DOTALL | re.MULTILINE)


def blocks(page, language):
    found = [
        (indent, text) for indent, kind, text in BLOCK.findall(page.read_text()) if kind == language
    ]
    return [re.sub(rf"^{indent}", "", text, flags=re.MULTILINE) for indent, text in found]


def configurations():
    for page in PAGES:
        for number, text in enumerate(blocks(page, "yaml")):
            yield pytest.param(text, id=f"{page.stem}-{number}")


def commands():
    lines = {line for page in PAGES for text in blocks(page, "sh") for line in text.splitlines()}
    return sorted(line for line in lines if line.startswith("plugway "))


def on_hand(text):
    """The same with what a test has: keys from the environment, the model that is shipped."""
    text = re.sub(r"\{\$(keyring|file): [\w/-]+\}", "{$env: RECIPE_KEY}", text)
    return text.replace("qwen3-coder, context", "demo, context").replace(
        "local/qwen3-coder]", "local/demo]"
    )


def test_there_is_a_page_for_each_way():
    assert [page.stem for page in PAGES] == [
        "compare-models",
        "containers",
        "local-coder",
        "on-device",
        "openai-clients",
        "own-key",
        "run-as-a-service",
        "switch-in-chat",
        "team",
        "tools",
    ]


@pytest.fixture
def plugway(tmp_path, monkeypatch, capsys):
    """Runs a command in this process: its exit status, and what it wrote."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", os.defpath)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("RECIPE_KEY", "key-of-a-recipe-0123456789")

    def run(*words):
        with pytest.raises(SystemExit) as ended:
            main(words)
        return ended.value.code or 0, capsys.readouterr()

    return run


@pytest.mark.parametrize("text", list(configurations()))
def test_a_configuration_is_valid(text, tmp_path, plugway):
    path = tmp_path / "config.yaml"
    path.write_text(on_hand(text))
    code, wrote = plugway("check", "--config", str(path))
    assert code == 0, wrote.err


@pytest.mark.parametrize("line", commands())
def test_a_command_exists(line, plugway):
    words = line.split()
    known = [word for word in words[1:4] if re.fullmatch(r"[a-z]+", word)]
    groups = {
        "models": 2,
        "keys": 2,
        "mcp": 2,
        "budgets": 2,
        "groups": 2,
        "service": 2,
        "users": 3 if "keys" in known else 2,
    }
    code, wrote = plugway(*known[: groups.get(words[1], 1)], "--help")
    assert code == 0, wrote.err
    assert "Usage: plugway" in wrote.out
    for word in words[1:]:
        if word.startswith("--"):
            assert word in wrote.out


OPENAI = ROOT / "docs/recipes/openai-clients.md"


@pytest.mark.anyio
async def test_a_client_of_openais_api_is_set_up_as_the_page_says(tmp_path, monkeypatch):
    for name in ("XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    text, _ = blocks(OPENAI, "yaml")
    (code,) = blocks(OPENAI, "python")
    app = App(parse_config(f"server: {{token: test-token}}\n{text}", "test"))
    async with serving(app) as port:
        url = f"http://127.0.0.1:{port}/v1"
        env = {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "test-token", "PATH": os.defpath}
        done = await anyio.run_process([sys.executable, "-c", code], env=env)
    models, answer = done.stdout.decode().splitlines()[:2]
    assert "local/demo" in models
    assert "Plugway" in answer
    assert f"OPENAI_BASE_URL={LISTENS}/v1" in (ROOT / "README.md").read_text()


def test_the_provider_for_codex_is_the_gateways_address():
    (text,) = blocks(OPENAI, "toml")
    settings = tomllib.loads(text)
    provider = settings["model_providers"][settings["model_provider"]]
    assert (provider["base_url"], provider["wire_api"]) == (f"{LISTENS}/v1", "responses")
    assert f"export {provider['env_key']}=" in OPENAI.read_text()


def turn(*said, session="5d6b0b04-0000-4000-8000-000000000000"):
    """A request of one conversation, the last thing said by its user."""
    messages = [
        {"role": "user" if number % 2 == 0 else "assistant", "content": text}
        for number, text in enumerate(said)
    ]
    headers = {"x-claude-code-session-id": session}
    body = {"model": "claude-sonnet-4-5", "max_tokens": 64, "messages": messages}
    return {"json": body, "headers": headers}


@pytest.mark.anyio
async def test_the_model_changes_inside_a_conversation_as_the_page_says(tmp_path, monkeypatch):
    monkeypatch.setenv("RECIPE_KEY", "key-of-a-recipe-0123456789")
    for name in ("XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    (text,) = blocks(ROOT / "docs/recipes/switch-in-chat.md", "yaml")
    names = ("claude-opus-4-5", "claude-sonnet-4-5")
    data = [{"type": "model", "id": name} for name in names]
    models = {"data": data, "has_more": False}

    def answer(request):
        listing = request.path.startswith("/v1/models")
        return respond(200, models if listing else anthropic_message("from the cloud"))

    async with ScriptedUpstream(otherwise=answer) as upstream:
        text = on_hand(text).replace("api_key:", f"base_url: {upstream.url!r}, api_key:")
        app = App(parse_config(f"server: {{token: test-token}}\n{text}", "test"))
        async with serving(app) as port:
            client = httpx2.AsyncClient(
                base_url=f"http://127.0.0.1:{port}",
                headers={"authorization": "Bearer test-token"},
                timeout=60,
                trust_env=False,
                verify=False,
            )
            async with client:

                async def say(*said):
                    response = await client.post("/v1/messages", **turn(*said))
                    response.raise_for_status()
                    text = "".join(b.get("text", "") for b in response.json()["content"])
                    served = response.headers["plugway-receipt"].partition(";")[0]
                    return text, served.removeprefix("served-by=")

                first, by_cloud = await say("hello")
                confirmed, _ = await say("hello", first, "use my local model")
                second, by_local = await say(
                    "hello", first, "use my local model", confirmed, "hello"
                )
                back, _ = await say("hello", second, "@plugway use cloud")
                third, by_cloud_again = await say(
                    "hello", second, "@plugway use cloud", "ok", "hello"
                )
    assert "cloud" in back
    assert first == third == "from the cloud"
    assert "local" in confirmed
    assert second not in {"", "from the cloud"}
    assert (by_cloud, by_local) == ("cloud/claude-sonnet-4-5", "local/demo")
    assert by_cloud_again.startswith("cloud/")
