"""`plugway mcp`, as a user types it."""

import json
import stat
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from plugins.mcp.tests.mounted import FAULTY, write_state
from plugway import LocalGateway
from plugway_mcp import _commands, _setup
from plugway_mcp._definitions import Store
from plugway_mcp._edit import CannotEdit, with_server, without_server
from plugway_mcp._options import ServerOptions
from plugway_mcp._presets import presets

PYTHON = [sys.executable, "-S", str(FAULTY)]
PLAIN = """\
# mine
server: {port: 8484}  # kept
plugins:
  - use: dashboard   # first
  # - use: mcp
  - use: echo        # last
"""


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    for name in ("STATE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    monkeypatch.delenv("PLUGWAY_CONFIG", raising=False)


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(PLAIN)
    path.chmod(0o640)
    return path


def run(*words, answers="", config=None):
    place = ["--config", str(config)] if config else []
    words = [*words[:1], *place, *words[1:]]
    result = CliRunner().invoke(_commands.mcp_app, [str(word) for word in words], input=answers)
    return result.exit_code, result.output


def servers(config):
    entries = [e for e in LocalGateway.find(config).plugins() if e.use == "mcp"]
    return dict(entries[0].options).get("servers") or {} if entries else {}


def test_a_server_is_added_tested_listed_and_removed(config):
    code, said = run("add", "x", "--yes", "--", *PYTHON, config=config)
    assert code == 0, said
    assert f"runs     {' '.join(PYTHON)}" in said
    assert "echo         run     no       Does echo." in said
    text = config.read_text()
    assert text.startswith(
        "# mine\nserver: {port: 8484}  # kept\nplugins:\n  - use: dashboard   # first\n"
    )
    assert text.endswith("  - use: echo        # last\n")
    assert stat.S_IMODE(config.stat().st_mode) == 0o640
    assert servers(config)["x"] == {"command": PYTHON[0], "args": PYTHON[1:], "allow": ["read"]}
    assert "x: 0 of 22 tools offered (read)" in run("list", config=config)[1]
    (row,) = json.loads(run("list", "--json", config=config)[1])
    assert (row["server"], row["tools"], row["to_do"]) == ("x", 22, "")
    assert run("test", "x", config=config)[0] == 0
    code, said = run("rm", "x", config=config, answers="y\n")
    assert (code, servers(config)) == (0, {})
    assert Store().accepted("x") is None


def test_a_file_is_kept_as_its_user_keeps_it(config, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    text = "\ufeff" + PLAIN.replace("\n", "\r\n")
    (own / "real.yaml").write_bytes(text.encode())
    config.unlink()
    config.symlink_to(own / "real.yaml")
    assert run("add", "x", "--yes", "--", *PYTHON, config=config)[0] == 0
    assert config.is_symlink()
    added = (own / "real.yaml").read_bytes()
    assert added.startswith(b"\xef\xbb\xbf# mine\r\n")
    assert added.count(b"\n") == added.count(b"\r\n") > text.count("\n")
    assert "x" in servers(config)
    assert run("rm", "x", "--yes", config=config)[0] == 0
    assert servers(config) == {}
    assert [path.name for path in own.iterdir()] == ["real.yaml"]


def test_a_file_that_is_read_only_is_left_to_its_user(config):
    config.chmod(0o440)
    code, said = run("add", "x", "--yes", "--", *PYTHON, config=config)
    assert code == 0
    assert f"Add this to `options.servers` of `mcp` in {config} (it is read-only):" in said
    assert config.read_text() == PLAIN
    config.write_text(with_server(PLAIN, "x", {"command": "b"}))
    code, said = run("rm", "x", "--yes", config=config)
    assert (code, "yourself: it is read-only" in said) == (1, True)


@pytest.mark.slow
def test_servers_that_are_added_at_once_are_all_there(config):
    names = [f"s{number}" for number in range(3)]
    code = "from plugway_mcp._commands import mcp_app; mcp_app()"
    words = [sys.executable, "-c", code, "add", "--yes", "--config", str(config)]
    started = [subprocess.Popen([*words, name, "--", *PYTHON]) for name in names]
    assert [process.wait(timeout=60) for process in started] == [0] * 3
    assert sorted(servers(config)) == names


def test_nothing_is_done_without_consent(config, tmp_path):
    marker = tmp_path / "started"
    words = [sys.executable, "-c", f"open({str(marker)!r}, 'w')"]
    code, said = run("add", "x", "--", *words, config=config, answers="n\n")
    assert code == 1
    assert "Nothing was done." in said
    assert config.read_text() == PLAIN
    assert not marker.exists()


def test_a_server_that_does_not_work_is_not_added(config):
    code, said = run("add", "x", "--yes", "--", sys.executable, "-c", "print('hm')", config=config)
    assert code == 1
    assert "`x` does not work: it ended with status 0; it printed:" in said
    assert config.read_text() == PLAIN


def test_a_changed_list_is_shown_and_accepted(config, tmp_path):
    state = tmp_path / "state.json"
    write_state(state)
    assert run("add", "x", "--yes", "--", *PYTHON, state, config=config)[0] == 0
    write_state(state, tools={"echo": "Sends it away."})
    code, said = run("test", "x", config=config)
    assert code == 1
    assert "Not as you have seen it: 1 changed (echo). Run `plugway mcp accept x`." in said
    assert "to do  1 changed (echo): run `plugway mcp accept x`" in run("list", config=config)[1]
    code, said = run("accept", "x", config=config, answers="n\n")
    assert code == 1
    assert '-  "description": "Does echo."' in said
    assert '+  "description": "Sends it away."' in said
    assert run("accept", "x", config=config, answers="y\n")[0] == 0
    assert run("test", "x", config=config)[0] == 0


def test_secrets_are_resolved_for_a_test(config, monkeypatch):
    monkeypatch.setenv("OWN_KEY", "a-key")
    text = with_server(
        PLAIN, "x", {"command": PYTHON[0], "args": PYTHON[1:], "env": {"K": {"$env": "OWN_KEY"}}}
    )
    config.write_text(text)
    assert run("test", "x", config=config)[0] == 0
    monkeypatch.delenv("OWN_KEY")
    code, said = run("test", "x", config=config)
    assert (code, "{$env: OWN_KEY}" in said) == (1, True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("add", "no-such"), "is not well-known (files, git, fetch, memory, time, browser)"),
        (("add", "a", "b", "--", "x"), "needs exactly one name"),
        (("add", "Bad Name", "--", "x"), "cannot be a name"),
        (("add", "time", "--allow", "all"), "unknown effect `all`: use read, write or run"),
        (("add", "files", "--root", "/no/such"), "there is no folder `/no/such`"),
        (("add", "git", "--root", "/"), "needs one folder that is a repository"),
        (("test", "x"), "there is no server `x` in"),
        (("rm", "x"), "there is no server `x` in"),
        (("accept", "x"), "there is no server `x` in"),
        (("import", "/no/such.json"), "cannot read /no/such.json"),
    ],
)
def test_a_mistake_is_explained(config, words, told):
    result = CliRunner().invoke(
        _commands.mcp_app, [*words[:1], "--config", str(config), *words[1:]]
    )
    assert result.exit_code != 0
    assert told in result.output + str(result.exception)
    assert config.read_text() == PLAIN


def test_a_file_of_claude_code_is_imported_one_by_one(config, tmp_path, monkeypatch):
    entries = {
        "My Server!": {"command": PYTHON[0], "args": PYTHON[1:], "env": {"API_KEY": "sk-plain", "A": "${HOME}"}},
        "other": {"type": "stdio", "command": "rm", "args": ["-rf", "everything"]},
        "remote": {"type": "http", "url": "https://example.com/mcp", "headers": {"Authorization": "Bearer ${T}"}},
        "old": {"type": "sse", "url": "https://example.com/sse"},
    }  # fmt: skip
    file = tmp_path / ".mcp.json"
    file.write_text(json.dumps({"mcpServers": entries}))
    monkeypatch.setenv("API_KEY", "sk-from-the-environment")
    code, said = run("import", file, config=config, answers="y\nn\nn\n")
    assert code == 1  # not all were added
    head = said[: said.index("Do this")]
    assert "rm -rf everything" in head
    assert "https://example.com/mcp" in head
    assert "old: its type `sse` is not supported" in head
    assert "`API_KEY` is a key in plain text and is not copied" in said
    assert "sk-plain" not in said + config.read_text()
    (name,) = servers(config)
    assert name == "my-server"
    assert servers(config)[name]["env"] == {"API_KEY": {"$env": "API_KEY"}, "A": {"$env": "HOME"}}
    assert servers(config)[name]["allow"] == ["read"]


def test_a_bearer_of_a_file_becomes_a_reference():
    entry = {
        "type": "http",
        "url": "https://e/mcp",
        "headers": {"authorization": "Bearer ${T}", "X-A": "b"},
    }
    (plan,), _ = _setup.of_file(json.dumps({"mcpServers": {"r": entry}}))
    assert plan.options["bearer"] == {"$env": "T"}
    assert plan.options["headers"] == {"X-A": "b"}


def of_file(**entries):
    return _setup.of_file(json.dumps({"mcpServers": entries}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "postgres://user:pass-word@host/db"),
        ("GITHUB_PAT", "anything"),
        ("X", "ghp_0123456789abcdefghij"),
        ("HEADER", "Authorization: Bearer 0123456789abcdef"),
        ("PASSPHRASE", "open"),
    ],
)
def test_a_key_by_any_name_is_not_copied(name, value):
    (plan,), _ = of_file(a={"command": "x", "env": {name: value}})
    assert plan.options["env"] == {name: {"$env": name}}
    assert value not in str(plan)
    (plan,), _ = of_file(a={"command": "x", "args": ["--header", f"token={value}-long"]})
    assert "an argument seems to hold a key" in plan.notes[0]


def test_a_default_of_a_file_counts_where_its_variable_is_not_set(monkeypatch):
    monkeypatch.setenv("THERE", "1")
    env = {"A": "${NOT_THERE:-a}", "B": "${THERE:-b}", "C": "${NOT_THERE}"}
    (plan,), _ = of_file(a={"command": "x", "args": ["C:\\a b\\c.exe"], "env": env})
    assert plan.options["env"] == {"A": "a", "B": {"$env": "THERE"}, "C": {"$env": "NOT_THERE"}}
    assert plan.options["args"] == ["C:\\a b\\c.exe"]


def test_servers_of_one_name_and_disabled_ones_are_left_out():
    entry = {"command": "x"}
    plans, problems = of_file(**{"A b": entry, "a-b": entry, "c": {**entry, "disabled": True}})
    assert [plan.name for plan in plans] == ["a-b"]
    assert problems == ["a-b: another one is called `a-b` already", "c: it is disabled there"]
    assert of_file() == ([], ["`mcpServers`: it names no servers"])


def test_what_is_shown_before_consent_cannot_look_like_other_lines(config, tmp_path):
    file = tmp_path / ".mcp.json"
    args = ["a\nb                harmless", "\u202ex\U000e0041"]
    text = json.dumps({"mcpServers": {"b": {"command": "rm", "args": args}}})
    file.write_bytes(b"\xef\xbb\xbf" + text.encode())
    code, said = run("import", file, config=config, answers="n\n")
    assert code == 1
    assert "a\\nb " in said
    assert "\\u202ex\\U000e0041" in said
    assert not {"\u202e", "\U000e0041"} & set(said)


def test_a_difference_is_shown_with_what_is_hidden_in_it(config, tmp_path):
    state = tmp_path / "state.json"
    write_state(state)
    assert run("add", "x", "--yes", "--", *PYTHON, state, config=config)[0] == 0
    write_state(state, tools={"echo": "Sends\u202e\x9b2J \U000e0041it."})
    said = run("accept", "x", config=config, answers="n\n")[1]
    assert "Sends\\u202e\\x9b2J \\U000e0041it." in said


@pytest.mark.parametrize("name", list(presets()))
def test_a_preset_makes_an_entry_that_is_valid(name, tmp_path, monkeypatch):
    (tmp_path / ".git").mkdir()
    monkeypatch.setattr(_setup.shutil, "which", lambda name: f"/usr/bin/{name}")
    preset = presets()[name]
    roots = [tmp_path] if preset.folders else []
    plan = _setup.of_preset(preset, roots, [], [])
    options = ServerOptions.model_validate(plan.options)
    assert options.preset == name
    assert f"{preset.version}" in plan.command
    assert "{executable}" not in plan.command
    assert set(preset.off) & set(preset.tools) == set()


FORMS = {
    "no entry": PLAIN,
    "an entry without options": "plugins:\n- use: mcp\n# a\n- use: echo\n",
    "empty options": "plugins:\n  - use: mcp\n    options:\n  - use: echo\n",
    "empty servers": "plugins:\n  - use: mcp\n    options:\n      servers: {}   # none\n  - use: echo\n",
    "another server": "plugins:\n  - name: m\n    use: mcp\n    options:\n      servers:\n          a:\n            command: b   # c\n\n          # end\n  - use: echo\n",
    "no line end": "plugins:\n  - use: echo\n  - use: mcp\n    options: {}",
    "at the end": "plugins:\n  - use: mcp\n    options:\n      servers:\n        a: {command: b}\n\n\n# the end\n",
    "windows": "plugins:\r\n  - use: echo\r\n",
}


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
def test_text_of_others_stays_when_a_server_comes_and_goes(tmp_path, text):
    options = {
        "command": "x",
        "args": ["-y", "a: b", "#c", "{roots}"],
        "roots": ["/a b"],
        "allow": ["read"],
    }
    added = with_server(text, "new", options)
    path = tmp_path / "c.yaml"
    path.write_bytes(added.encode())
    assert servers(path)["new"] == options
    for line in text.splitlines():
        if "{}" not in line:
            assert line in added.splitlines()
    with pytest.raises(CannotEdit, match="there is a server `new` already"):
        with_server(added, "new", options)
    path.write_bytes(without_server(added, "new").encode())
    assert "new" not in servers(path)
    others = [e.use for e in LocalGateway.find(path).plugins() if e.use != "mcp"]
    assert others == [use for use in ("dashboard", "echo") if f"use: {use}" in text]


@pytest.mark.parametrize(
    "text",
    [
        "plugins: [{use: mcp}]\n",
        "plugins:\n  - {use: mcp}\n",
        "plugins:\n  - use: mcp\n    options: {servers: {a: {command: b}}}\n",
        "plugins:\n  - use: mcp\n    options:\n      servers: {a: {command: b}}\n",
        "plugins: []\n",
        "server: {}\n",
        "plugins: [\n",
    ],
)
def test_what_cannot_be_edited_safely_is_left_to_the_user(text):
    with pytest.raises(CannotEdit):
        with_server(text, "new", {"command": "x"})


def test_a_block_is_printed_where_the_text_cannot_be_edited(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("plugins: [{use: mcp}, {use: echo}]\n")
    code, said = run("add", "x", "--yes", "--", *PYTHON, config=path)
    assert code == 0
    assert f"Add this to `options.servers` of `mcp` in {path}" in said
    assert path.read_text() == "plugins: [{use: mcp}, {use: echo}]\n"
