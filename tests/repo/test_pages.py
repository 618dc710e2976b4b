"""What stands in the pages works as it is pasted, and the tests that they name are there."""

from __future__ import annotations

import ast
import re
import sys
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

import pytest

from plugway.config.config import parse_config
from plugway.http.snapshot import build_snapshot
from plugway.testing import PlainBackend, ScriptedUpstream, build_plugin, gateway, respond

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("plugin*/**/README.md")]
YAML = re.compile(r"^( *)```yaml\n(.*?)^\1```", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
NOT_HERE = (
    "there is no model `qwen3-coder`",
    "command `codex` not found",
    "no login at",
    "`fm-serve` runs on a Mac",
    "MLX is not installed",
    "pictures cannot be read: `rapidocr` is not installed",
    "pictures cannot be enlarged: `",
    "`/metrics` needs the library",
    "`pocketsphinx` cannot be used",
    "no Whisper model is installed",
    "texts cannot be spoken",
)
"""Warnings of what a reader has and a test has not."""

pytestmark = pytest.mark.anyio


def configurations():
    for page in sorted(PAGES):
        for number, (indent, text) in enumerate(YAML.findall(page.read_text("utf-8"))):
            if "use:" not in text:
                continue  # another file
            name = f"{page.relative_to(ROOT)}-{number}"
            yield pytest.param(re.sub(rf"^{indent}", "", text, flags=re.MULTILINE), id=name)


@pytest.mark.parametrize("text", list(configurations()))
def test_a_configuration_is_valid_as_it_is_pasted(text, monkeypatch, caplog):
    """One without `plugins:` is a part of a configuration, and valid in one."""
    monkeypatch.setenv("KEY_OF_A_PAGE", "key-of-a-page-0123456789")
    text = re.sub(r"\{\$\w+: [^}]+\}", "{$env: KEY_OF_A_PAGE}", text)
    if not re.search("^plugins:", text, re.MULTILINE):
        text = f"plugins:\n{text}  - use: echo\n"
    found = build_snapshot(parse_config(text, "page"))
    assert found.backends
    odd = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [told for told in odd if not told.startswith(NOT_HERE)] == []


def test_every_option_stands_on_the_page_of_its_plugin():
    for point in entry_points(group="plugway"):
        page = ROOT / "plugins" / point.name / "README.md"
        if page.is_file():
            text = page.read_text("utf-8")
            for name in point.load().options_type().model_fields:
                assert f"`{name}`" in text, f"{name} of {point.name}"


@cache
def functions_of(path):
    text = (ROOT / path).read_text("utf-8") if (ROOT / path).is_file() else ""
    return {getattr(node, "name", None) for node in ast.parse(text).body}


def test_each_row_about_claude_code_names_tests_that_exist():
    page = (ROOT / "docs/claude-code-compatibility.md").read_text("utf-8")
    rows = [line for line in page.splitlines() if re.match(r"\| (?!fact \||---)", line)]
    assert len(rows) > 100
    for row in rows:
        _, _, _, tests, _ = row.split("|")  # a row has three cells
        named = re.findall(r"`([\w./-]+/test_\w+\.py)::(test_\w+)`", tests)
        assert len(named) == tests.count("`") / 2 > 0, f"no test, or not only tests: {row}"
        for path, name in named:
            assert name in functions_of(path), f"there is no `{path}::{name}`"


@pytest.fixture
def pasted(monkeypatch):
    """The blocks of Python on the page about plugins, each as a module."""
    text = (ROOT / "docs/writing-a-plugin.md").read_text("utf-8")
    modules = []
    for number, code in enumerate(CODE.findall(text)):
        module = ModuleType(f"pasted_{number}")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        exec(compile(code, "docs/writing-a-plugin.md", "exec"), vars(module))
        modules.append(module)
    return modules


async def test_the_first_plugin_of_the_page_works(pasted):
    backend = build_plugin(PlainBackend, "plain")
    plugin = build_plugin(pasted[0].NoThinking, "no-thinking")
    async with gateway([plugin, backend]) as running:
        await running.ask("hello", thinking={"type": "adaptive"})
    assert "thinking" not in backend.seen[0].body


async def test_the_option_of_the_first_plugin_works(pasted):
    backend = build_plugin(PlainBackend, "plain")
    plugin = build_plugin(pasted[0].NoThinking, "no-thinking", models=["other-*"])
    async with gateway([plugin, backend]) as running:
        await running.ask("hello", thinking={"type": "adaptive"})
    assert backend.seen[0].body["thinking"] == {"type": "adaptive"}


async def test_the_backend_of_the_page_works(pasted):
    said = "grüß".encode()
    async with ScriptedUpstream(otherwise=respond(200, said)) as upstream:
        plugin = build_plugin(pasted[1].MyPlugin, "mine", base_url=upstream.url)
        async with gateway([plugin]) as running:
            message = await running.ask("hello")
            events = await running.stream("hello")
            upstream.script(respond(200, b'["small"]'))
            models = (await running.client.get("/v1/models")).json()
            upstream.script(respond(429, b"not now"))
            refused = await running.client.post("/v1/messages", json=message_to_refuse())
    assert message["content"] == [{"type": "text", "text": "grüß"}]
    assert events[-1][0] == "message_stop"
    assert [model["id"] for model in models["data"]] == ["anthropic/mine/small"]
    assert (refused.status_code, "not now" in refused.text) == (429, True)
    assert b'"role":' in upstream.requests[0].body


def message_to_refuse():
    return {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]}
