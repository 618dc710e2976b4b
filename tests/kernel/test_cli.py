"""The command line: data on stdout, talk on stderr, an exit status that means something."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer

from plugway.cli.config import chosen_config
from plugway.cli.main import app, main
from plugway.cli.serve import Reloader, connection, token_hint
from plugway.config.config import Config, parse_config
from plugway.http.app import model_object
from plugway.plugins.loader import installed
from plugway.types.backend import ModelInfo
from plugway.types.errors import ConfigError
from plugway_packages import approvals_path

STACK = [
    "dashboard",
    "auto-mode",
    "gemini-api",
    "openai-api",
    "local-answers",
    "thinking",
    "resilience",
    "error-normalizer",
    "server-tools",
    "tool-repair",
    "context-guard",
    "field-policy",
    "router",
    "llama-cpp",
]
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the person who runs the tests is read or written."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home" / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home" / "state"))
    monkeypatch.delenv("PLUGWAY_CONFIG", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)


class Ran:
    """What one command did."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def plugway(capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: str) -> Ran:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        captured = capsys.readouterr()
        return Ran(int(ended.value.code or 0), captured.out, captured.err)

    return run


def written(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    path.chmod(0o600)
    return path


# ── help ───────────────────────────────────────────────────────────────────────────────────────


def command_names(group: typer.Typer, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for command in group.registered_commands:
        name = command.name or getattr(command.callback, "__name__", "")
        yield (*prefix, name)
    for inner in group.registered_groups:
        if inner.typer_instance is not None:
            yield from command_names(inner.typer_instance, (*prefix, str(inner.name)))


COMMANDS = list(command_names(app))


def test_the_commands_are_those_of_the_design() -> None:
    assert {" ".join(words) for words in COMMANDS} == {
        "serve",
        "check",
        "plugins",
        "config example",
        "config path",
        "config schema",
    }


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(plugway: Any, words: tuple[str, ...]) -> None:
    done = plugway(*words, "--help")
    assert done.code == 0
    assert f"Example: plugway {' '.join(words)}" in done.out or "$(plugway" in done.out


def test_the_installed_script_answers() -> None:
    script = Path(sys.executable).with_name("plugway")
    done = subprocess.run([script, "--help"], capture_output=True, text=True, check=True)
    assert "serve" in done.stdout


def test_an_unknown_command_fails_and_loads_nothing_without_a_configuration(plugway: Any) -> None:
    done = plugway("frobnicate")
    assert done.code == 2
    assert "there is no command `frobnicate`" in done.err
    assert "`plugway-starter`" in done.err
    assert done.out == ""


@pytest.mark.parametrize(("word", "meant"), [("serv", "serve"), ("statu", "status")])
def test_a_misspelt_command_names_the_one_that_was_meant(
    plugway: Any, word: str, meant: str
) -> None:
    done = plugway(word)
    assert done.code == 2
    assert f"did you mean `{meant}`?" in done.err


@pytest.mark.parametrize("word", ["--help", "status", "new"])
def test_the_kernel_alone_names_the_package_with_more_commands(
    plugway: Any, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    def nothing(**_: str) -> list[Any]:
        return []

    monkeypatch.setattr("plugway.cli.plugins.entry_points", nothing)
    own = [c for c in app.registered_commands if c.callback.__module__.startswith("plugway.")]
    monkeypatch.setattr(app, "registered_commands", own)  # without those of tests before this one
    done = plugway(word)
    assert "`plugway-starter`" in " ".join((done.out + done.err).split())


# ── configuration ──────────────────────────────────────────────────────────────────────────────


def test_the_example_is_one_text_in_the_package_and_at_the_root(plugway: Any) -> None:
    done = plugway("config", "example")
    assert done.code == 0
    assert done.out == (ROOT / "config.example.yaml").read_text("utf-8")


def test_the_example_parses_and_shows_every_backend_and_the_plugins_of_a_conversation() -> None:
    text = (ROOT / "config.example.yaml").read_text("utf-8")
    config = parse_config(text)
    assert [entry.use for entry in config.plugins] == STACK
    backends = ("anthropic", "openai", "gemini", "ollama", "lmstudio", "llama-server", "vllm")
    for name in (*backends, "openai-compatible", "mcp", "switch", "recommend"):
        assert f"# - use: {name}\n" in text


def test_the_example_passes_check_as_it_is(plugway: Any, tmp_path: Path) -> None:
    path = written(tmp_path / "c.yaml", (ROOT / "config.example.yaml").read_text("utf-8"))
    done = plugway("check", "--config", str(path))
    assert (done.code, done.out) == (0, ""), done.err


def test_the_commented_parts_of_the_example_are_yaml_too() -> None:
    text = (ROOT / "config.example.yaml").read_text("utf-8")
    stack = text.index("  - use: local-answers")
    lines = [
        re.sub(r"^( *)# ", r"\1", line)
        for line in text[stack:].splitlines()
        if "- use" in line
        or "options:" in line
        or "name:" in line
        or "models:" in line
        or "[local" in line
    ]
    config = parse_config("plugins:\n" + "\n".join(lines))
    assert len(config.plugins) == text[stack:].count("- use: ")
    assert {entry.use for entry in config.plugins} <= set(installed())


def test_the_path_is_data_and_a_missing_file_is_talk(plugway: Any, tmp_path: Path) -> None:
    done = plugway("config", "path")
    path = tmp_path / "home" / "config" / "plugway" / "config.yaml"
    assert (done.code, done.out) == (0, f"{path}\n")
    assert "plugway config example >" in done.err
    path.parent.mkdir(parents=True)
    written(path, "plugins: []")
    assert plugway("config", "path").err == ""


def test_the_schema_describes_server_and_plugins(plugway: Any, tmp_path: Path) -> None:
    path = written(tmp_path / "c.yaml", "plugins: [{use: echo}]")
    schema = json.loads(plugway("config", "schema", "--config", str(path)).out)
    port = schema["properties"]["server"]["properties"]["port"]
    assert {"$ref": "#/$defs/secret"} in port["anyOf"]
    items = schema["properties"]["plugins"]["items"]
    assert "echo" in items["properties"]["use"]["examples"]
    assert items["allOf"][0]["if"] == {"properties": {"use": {"const": "echo"}}}


def test_check_accepts_a_good_file_without_a_word_on_stdout(plugway: Any, tmp_path: Path) -> None:
    path = written(tmp_path / "c.yaml", "plugins: [{use: echo}]")
    done = plugway("check", "--config", str(path))
    assert (done.code, done.out) == (0, "")
    assert "valid" in done.err


@pytest.mark.parametrize("words", [["check"], ["serve", "--host", "0.0.0.0"], ["config", "schema"]])
def test_what_is_about_the_configuration_takes_the_file_as_a_word_too(
    plugway: Any, tmp_path: Path, words: list[str]
) -> None:
    path, other = written(tmp_path / "c.yaml", "x: 1"), written(tmp_path / "d.yaml", "x: 1")
    for named in ([str(path)], ["--config", str(path)], [str(path), "--config", str(path)]):
        done = plugway(*words, *named)
        assert (done.code, f"{path}:1:1: `x`" in done.err) == (2, True), done.err
    done = plugway(*words, str(path), "--config", str(other))
    assert (done.code, f"`{path}` is given too" in done.err) == (2, True), done.err


def test_check_reports_all_problems_readably_and_exits_2(plugway: Any, tmp_path: Path) -> None:
    path = written(tmp_path / "c.yaml", "server: {prot: 1}\nplugins: []\nx: 1\n")
    done = plugway("check", "--config", str(path))
    assert done.code == 2
    assert "2 problems" in done.err
    assert f"{path}:1:10: `server.prot`: unknown option - did you mean `port`?" in done.err
    assert "Traceback" not in done.err


def test_check_tells_problems_of_the_server_and_of_plugins_together(
    plugway: Any, tmp_path: Path
) -> None:
    text = "server: {prot: 1}\nplugins:\n- {use: echo, options: {modles: [a]}}\n- use: ecoh\n"
    path = written(tmp_path / "c.yaml", text)
    done = plugway("check", "--json", "--config", str(path))
    assert done.code == 2
    places = [problem["path"] for problem in json.loads(done.out)["problems"]]
    assert places == ["server.prot", "plugins[0].options.modles", "plugins[1].use"]


FLAWED = """
plugins:
  - use: router
    options:
      models:
        "*": []
        "a": [nowhere/x, cloud/x, later/x]
  - use: resilience
    options: {retriess: 3}
  - use: switch
    options: {allow_zones: [elsewhere]}
  - use: anthropic
    name: cloud
    options: {api_key: {$env: PLUGWAY_TEST_IS_NOT_SET}}
  - use: echo
    name: later
    options: {models: 7}
"""


def test_check_tells_what_plugins_see_in_each_other_beside_wrong_options(
    plugway: Any, tmp_path: Path
) -> None:
    done = plugway("check", str(written(tmp_path / "c.yaml", FLAWED)))
    told = re.findall(r"`(plugins\[.*?)`:", done.err)
    assert [place.removeprefix("plugins") for place in told] == [
        "[0].options.models.*",
        "[0].options.models.a[0]",
        "[1].options.retriess",
        "[2]",
        "[3].options.api_key",
        "[4].options.models",
    ], "and no word about backends that are only not there yet"
    assert "`cloud`, `later`" in done.err
    assert "resilience`," not in done.err, "which is no backend"
    assert "warning" not in done.err, "of zones that may come with what could not be made"


def test_a_command_that_reads_the_file_alone_tells_all_problems_too(
    plugway: Any, tmp_path: Path
) -> None:
    path = written(tmp_path / "c.yaml", "server: {port: many}" + FLAWED)
    assert plugway("status", "--config", str(path)).err == plugway("check", str(path)).err
    assert "7 problems" in plugway("check", str(path)).err


def test_check_tells_a_script_the_problems_as_json(plugway: Any, tmp_path: Path) -> None:
    path = written(tmp_path / "c.yaml", "plugins: [{use: ecoh}]")
    done = plugway("check", "--json", "--config", str(path))
    assert done.code == 2
    answer = json.loads(done.out)
    assert answer["valid"] is False
    assert answer["problems"][0]["where"] == f"{path}:1:12"
    assert answer["problems"][0]["fix"].startswith("did you mean `echo`?")


def test_check_tells_what_is_only_odd_and_accepts_the_file(plugway: Any, tmp_path: Path) -> None:
    text = "plugins:\n- {use: switch, options: {allow_zones: [clod]}}\n- {use: echo}\n"
    path = written(tmp_path / "c.yaml", text)
    done = plugway("check", str(path))
    assert done.code == 0
    warning, valid = done.err.splitlines()
    assert warning.startswith("plugway: warning: switch: no backend is in the zone `clod`")
    assert valid == "the configuration is valid"
    answer = json.loads(plugway("check", "--json", str(path)).out)
    assert (answer["valid"], answer["problems"]) == (True, [])
    assert answer["warnings"] == [warning.removeprefix("plugway: warning: ")]


@pytest.mark.parametrize("plugins", ["[]", "[{use: dashboard}]"])
def test_check_warns_where_no_backend_is_listed(plugway: Any, tmp_path: Path, plugins: str) -> None:
    done = plugway("check", str(written(tmp_path / "c.yaml", f"plugins: {plugins}")))
    assert done.code == 0
    assert "warning: app: no backend is listed: every request that needs a model" in done.err


def test_check_warns_of_a_model_that_is_not_there(plugway: Any, tmp_path: Path) -> None:
    text = "plugins: [{use: llama-cpp, options: {model: nosuch}}]"
    done = plugway("check", str(written(tmp_path / "c.yaml", text)))
    assert done.code == 0
    assert "warning: llama-cpp: there is no model `nosuch`" in done.err


def test_check_warns_of_keys_and_commands_that_are_missing_and_passes(
    plugway: Any, tmp_path: Path
) -> None:
    text = (
        "plugins:\n"
        "- {use: openai-compatible, name: far, options: {preset: openrouter}}\n"
        "- {use: openai-compatible, name: near, options: {preset: ollama}}\n"
        "- use: gemini\n"
        f"- {{use: codex, options: {{command: no-such, home: {tmp_path}}}}}\n"
    )
    done = plugway("check", str(written(tmp_path / "c.yaml", text)))
    assert (done.code, done.out) == (0, "")
    start = "plugway: warning: "
    told = [x.removeprefix(start) for x in done.err.splitlines() if x.startswith(start)]
    assert [line.partition(": ")[0] for line in told] == ["far", "gemini", "codex", "codex"]
    words = ["OPENROUTER_API_KEY", "GEMINI_API_KEY", "`no-such`", "codex login"]
    assert all(word in line for word, line in zip(words, told, strict=True))


def test_an_unprotected_address_exits_3_with_one_line(plugway: Any, tmp_path: Path) -> None:
    path = written(tmp_path / "c.yaml", "plugins: []")
    done = plugway("serve", "--config", str(path), "--host", "0.0.0.0")
    assert done.code == 3
    assert len(done.err.splitlines()) == 1
    assert "reachable from other machines" in done.err


@pytest.mark.parametrize("port", ["٨٤٨٤", "0x10", "70000", "-1", "eighty"])
def test_a_port_that_is_none_is_refused(plugway: Any, tmp_path: Path, port: str) -> None:
    path = written(tmp_path / "c.yaml", "plugins: []")
    done = plugway("serve", "--config", str(path), f"--port={port}")
    assert done.code == 2
    assert "command line: `server.port`" in done.err


def test_a_level_that_is_none_is_refused(plugway: Any) -> None:
    done = plugway("serve", "--log-level", "loud")
    assert done.code == 2
    assert "loud" in done.err


# ── plugins ────────────────────────────────────────────────────────────────────────────────────


def test_plugins_lists_what_is_installed_and_marks_what_is_used(
    plugway: Any, tmp_path: Path
) -> None:
    path = written(tmp_path / "c.yaml", "plugins: [{use: echo, name: parrot}]")
    rows = json.loads(plugway("plugins", "--json", "--config", str(path)).out)
    row = next(row for row in rows if row["name"] == "echo")
    assert row["distribution"] == "plugway-echo"
    assert row["instances"] == ["parrot"]
    done = plugway("plugins", "--config", str(path))
    assert "parrot" in done.out
    assert done.err == ""


ANNOUNCED = """
import typer
single, several, wrong = typer.Typer(), typer.Typer(), object()
@single.command()
def one(word: str):
    print(word * 2)
@several.command()
def first():
    print("first")
@several.command()
def second():
    print("second")
"""


@pytest.fixture
def announced(tmp_path: Path) -> Any:
    info = tmp_path / "plugway_talker-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugway-talker\nVersion: 1\n")
    names = "single = talker_cli:single\nseveral = talker_cli:several\nwrong = talker_cli:wrong\n"
    (info / "entry_points.txt").write_text(
        f"[plugway.commands]\n{names}broken = talker_cli:absent\n"
    )
    (tmp_path / "talker_cli.py").write_text(ANNOUNCED)
    broken = written(tmp_path / "c.yaml", "plugins: [{use: nothing-like-it}]")

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", "from plugway.cli.main import main; main()", *words],
            env={**os.environ, "PLUGWAY_CONFIG": str(broken), "PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_an_installed_command_works_whatever_the_configuration_is(announced: Any) -> None:
    assert (announced("single", "ab").stdout) == "abab\n"
    assert (announced("several", "second").stdout) == "second\n"
    assert {"several", "single"} <= set(re.findall(r"[a-z]+", announced("--help").stdout))


def test_the_commands_of_the_starter_are_all_in_the_help(plugway: Any) -> None:
    told = " ".join(plugway("--help").out.split())
    table = (ROOT / "README.md").read_text("utf-8").split("## Commands")[1]
    for name in re.findall(r"`plugway ([a-z]+)", table):
        assert re.search(rf"\b{name}\b", told), f"{name} is not in the help"


def test_the_version_is_told(plugway: Any) -> None:
    assert plugway("--version").out == version("plugway") + "\n"


@pytest.mark.parametrize(
    ("word", "reason"), [("wrong", "not a `typer.Typer`"), ("broken", "import")]
)
def test_an_installed_command_that_is_none_is_told_by_name(
    announced: Any, word: str, reason: str
) -> None:
    done = announced(word)
    assert done.returncode == 2
    assert reason in done.stderr
    assert "plugway-talker" in done.stderr


def test_a_command_of_a_package_that_is_not_approved_is_not_imported(announced: Any) -> None:
    approvals_path().parent.mkdir(parents=True, exist_ok=True)
    approvals_path().write_text("{}")
    done = announced("single", "ab")
    assert (done.returncode, done.stdout) == (2, "")
    assert "run `plugway plugins --approve plugway-talker`" in done.stderr


@pytest.mark.parametrize("port", ["99999", "abc"])
@pytest.mark.parametrize("word", ["status", "explain", "serve", "logs", "ui", "doctor", "up"])
def test_a_port_that_is_none_is_refused_by_every_command(
    plugway: Any, word: str, port: str
) -> None:
    done = plugway(word, "--port", port)
    assert (done.code, done.out) == (2, "")
    assert "port" in done.err
    assert "Traceback" not in done.err


# ── serve ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("token", "shell"),
    [
        ("{$env: MY_TOKEN}", "$MY_TOKEN"),
        ("{$keyring: gate}", "$(keyring get plugway gate)"),
        ("{$keyring: gate}, key_store: vault", "YOUR_TOKEN"),
        ("abcdefghijklmnop", "YOUR_TOKEN"),
    ],
)
def test_the_banner_says_where_the_token_is_and_never_what_it_is(
    token: str, shell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", "abcdefghijklmnop")
    monkeypatch.setattr("plugway.config.secrets.fetch", lambda *_: "abcdefghijklmnop")
    config = parse_config(f"server: {{token: {token}}}\nplugins: [{{use: other}}]")
    assert token_hint(config)[0] == shell
    text = connection(config, "http://127.0.0.1:8484", None, ["local"])
    assert f'ANTHROPIC_AUTH_TOKEN="{shell}"' in text
    assert "abcdefgh" not in text
    assert "To add a real one" not in text


def test_the_banner_of_the_installed_stack_says_how_to_add_a_real_backend(tmp_path: Path) -> None:
    config = parse_config((ROOT / "config.example.yaml").read_text("utf-8"))
    text = connection(config, "http://127.0.0.1:8484", None, ["local"])
    assert "To use a real model, stop this and run" in text
    assert "plugway models pull" in text
    assert "export ANTHROPIC_BASE_URL=http://127.0.0.1:8484 ANTHROPIC_AUTH_TOKEN=" in text
    assert f"$(cat {tmp_path}/home/state/plugway/token)" in text
    assert "curl http://127.0.0.1:8484/v1/messages" in text


def test_the_banner_passes_on_what_the_backend_of_the_model_wants_to_be_read() -> None:
    config = parse_config("plugins: []")
    model = ModelInfo("anthropic/local/demo", notice="It is a demonstration. " * 8)
    lines = connection(config, "http://127.0.0.1:8484", model, []).splitlines()
    assert " ".join(lines[-2:]) == ("It is a demonstration. " * 8).strip()
    assert model_object(model)["notice"] == model.notice
    assert "notice" not in model_object(ModelInfo("x"))


def exported(text: str) -> dict[str, str]:
    """What a shell has in its environment after the lines were pasted."""
    lines = [line for line in text.splitlines() if line.startswith("  export ")]
    shown = subprocess.run(
        ["sh", "-c", "\n".join([*lines, "env -0"])], capture_output=True, text=True, check=True
    )
    pairs = (item.partition("=") for item in shown.stdout.split("\0"))
    return {name: value for name, _, value in pairs if name.startswith(("ANTHROPIC_", "CLAUDE_"))}


@pytest.mark.parametrize(
    ("window", "told"),
    [
        (0, {}),
        (32_768, {"CONTEXT": "32768", "OUTPUT": "4096"}),
        (65_536, {"CONTEXT": "65536", "OUTPUT": "8192"}),
        (200_000, {"CONTEXT": "200000"}),
    ],
)
def test_the_lines_to_paste_name_the_model_and_its_window(
    window: int, told: dict[str, str]
) -> None:
    config = parse_config("server: {token: abcdefghijklmnop}\nplugins: []")
    model = ModelInfo("anthropic/local/it's mine", context_tokens=window)
    found = exported(connection(config, "http://127.0.0.1:8484", model, []))
    sizes = {f"CLAUDE_CODE_MAX_{name}_TOKENS": value for name, value in told.items()}
    assert found == {
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:8484",
        "ANTHROPIC_AUTH_TOKEN": "YOUR_TOKEN",
        "ANTHROPIC_MODEL": "anthropic/local/it's mine",
        "CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY": "1",
        **sizes,
    }


def test_without_a_model_the_lines_say_what_is_missing() -> None:
    config = parse_config("plugins: []")
    text = connection(config, "http://127.0.0.1:8484", None, [])
    assert "ANTHROPIC_MODEL" not in exported(text)
    assert "no model is listed yet; set ANTHROPIC_MODEL" in text


@pytest.mark.parametrize(
    ("router", "model"), [("{'*': [local/large]}", "large"), ("{'haiku': [local/large]}", "small")]
)
def test_serve_names_the_model_that_the_router_leads_to(
    tmp_path: Path, router: str, model: str
) -> None:
    text = (
        "server: {port: 0}\nplugins:\n"
        f"  - {{use: router, options: {{models: {router}}}}}\n"
        "  - {use: echo, name: local, options: {models: [small, large], context_tokens: 40000}}\n"
    )
    path = written(tmp_path / "served.yaml", text)
    process = subprocess.Popen(
        [sys.executable, "-c", "from plugway.cli.main import main; main()", "serve", str(path)],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        lines: list[str] = []
        while not lines or not lines[-1].startswith("Try it"):
            lines.append(process.stderr.readline())
            assert lines[-1], "it ended"
    finally:
        process.kill()
        process.communicate()
    found = exported("".join(lines))
    assert found["ANTHROPIC_MODEL"] == f"anthropic/local/{model}"
    assert found["CLAUDE_CODE_MAX_CONTEXT_TOKENS"] == "40000"
    assert found["ANTHROPIC_BASE_URL"] in lines[0]


def test_what_is_approved_now_is_told_and_not_all_that_ever_was(plugway: Any) -> None:
    plugway("plugins", "--approve", "plugway-echo")
    done = plugway("plugins", "--approve", "plugway-router")
    assert done.err.startswith("approved: plugway-router; ")
    assert "has 2 packages now" in done.err


def test_plugins_shows_the_stack_that_runs_without_a_file(plugway: Any) -> None:
    rows = json.loads(plugway("plugins", "--json").out)
    assert next(row for row in rows if row["name"] == "llama-cpp")["instances"] == ["local"]
    assert next(row for row in rows if row["name"] == "echo")["instances"] == []


def test_only_a_package_that_is_installed_can_be_approved(plugway: Any) -> None:
    done = plugway("plugins", "--approve", "plugway-nope")
    assert done.code == 1
    assert "no installed plugin or package of plugins is called `plugway-nope`" in done.err


def test_a_plugin_is_approved_by_the_name_that_the_list_shows(plugway: Any) -> None:
    rows = json.loads(plugway("plugins", "--json").out)
    echo = next(row for row in rows if row["name"] == "echo")
    done = plugway("plugins", "--approve", echo["name"], echo["distribution"])
    assert done.code == 0
    assert done.err.startswith("approved: plugway-echo; ")


@pytest.mark.parametrize(
    "plugins",
    ["[]", "[{use: dashboard}]", "[{use: llama-cpp, name: local, options: {model: qwen3-coder}}]"],
)
def test_the_banner_does_not_take_a_model_of_the_user_for_the_demonstration(plugins: str) -> None:
    backends = ["local"] if "local" in plugins else []
    config = parse_config(f"plugins: {plugins}")
    text = connection(config, "http://127.0.0.1:8484", None, backends)
    assert "real model" not in text


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[tuple[str, Path, subprocess.Popen[str]]]:
    path = written(tmp_path / "served.yaml", "server: {port: 0}\nplugins: [{use: echo}]")
    words = ["serve", "--config", str(path), "--log-json"]
    process = subprocess.Popen(
        [sys.executable, "-c", "from plugway.cli.main import main; main()", *words],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        address = log_line(process, "listening")["address"]
        yield address, path, process
    finally:
        process.kill()
        process.communicate()


def log_line(process: subprocess.Popen[str], words: str) -> dict[str, Any]:
    assert process.stderr is not None
    for line in process.stderr:
        if words in line:
            return json.loads(line)
    raise AssertionError(f"the gateway ended without logging {words!r}")


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_serve_answers_keeps_the_old_configuration_and_stops_on_a_signal(
    plugway: Any, serving: tuple[str, Path, subprocess.Popen[str]]
) -> None:
    address, path, process = serving
    port = address.rpartition(":")[2]
    where = ("--config", str(path), "--port", port)
    assert json.loads(plugway("status", "--json", *where).out)["plugins"] == ["echo"]
    assert plugway("explain", "--model", "echo/echo", "--json", *where).code == 0

    written(path, "server: {prot: 1}\nplugins: []")
    process.send_signal(signal.SIGHUP)
    assert "did you mean `port`?" in log_line(process, "kept the old config")["message"]
    written(path, "plugins: [{use: echo, name: parrot}]")
    process.send_signal(signal.SIGHUP)
    log_line(process, "reloaded")
    assert json.loads(plugway("status", "--json", *where).out)["plugins"] == ["parrot"]

    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    assert process.stdout is not None
    assert process.stdout.read() == ""


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_who_stops_a_gateway_at_work_is_told_what_it_waits_for(tmp_path: Path) -> None:
    path = written(tmp_path / "c.yaml", "server: {port: 0, token: t}\nplugins: [{use: echo}]")
    process = subprocess.Popen(
        [sys.executable, "-c", "from plugway.cli.main import main; main()", "serve", str(path)],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        address = next(line for line in process.stderr if " listens on " in line).split()[-1]
        host, port = address.removeprefix("http://").split(":")
        body = {"model": "echo", "max_tokens": 9, "stream": True}
        body["messages"] = [{"role": "user", "content": "echo: delay 60"}]
        text = json.dumps(body)
        head = f"POST /v1/messages HTTP/1.1\r\nhost: {host}:{port}\r\nx-api-key: t\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(text)}\r\n\r\n"
        with socket.create_connection((host, int(port))) as client:
            client.sendall((head + text).encode())
            while not active_at(address):
                pass
            process.send_signal(signal.SIGINT)
            told = next(line for line in process.stderr if "waiting" in line)
            assert "up to 28 s for 1 exchange to finish; press Ctrl-C again" in told
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 0
    finally:
        process.kill()
        process.communicate()


def active_at(address: str) -> int:
    request = urllib.request.Request(f"{address}/health", headers={"x-api-key": "t"})
    with urllib.request.urlopen(request, timeout=5) as answer:
        return json.load(answer)["active"]


def test_serve_without_a_file_takes_the_installed_stack() -> None:
    config = chosen_config(None)
    assert config.path is None
    assert config.document.where == "stack of plugway-starter"
    assert [entry.use for entry in config.plugins] == STACK


class FakeApp:
    def __init__(self) -> None:
        self.configs: list[Config] = []

    async def reload(self, config: Config) -> None:
        self.configs.append(config)


@pytest.mark.anyio
async def test_reload_reads_again_and_leaves_a_new_address_to_a_restart(
    caplog: pytest.LogCaptureFixture,
) -> None:
    texts = iter(["plugins: []", "server: {port: 9}\nplugins: []", "server: {prot: 9}"])
    fake = FakeApp()
    reload = Reloader(fake, parse_config("plugins: []"), lambda: parse_config(next(texts)))
    await reload()
    assert not caplog.records
    await reload()
    assert "takes effect after a restart" in caplog.text
    with pytest.raises(ConfigError):
        await reload()
    assert len(fake.configs) == 2


def test_the_ready_stack_lists_plugins_of_its_own_dependencies() -> None:
    assert "echo" in installed()
