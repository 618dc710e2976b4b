"""A set-up changes what it says, leaves the rest, and can be undone to the byte."""

import json
import os
from pathlib import Path

import pytest

from plugway import PlugwayError
from plugway_claude_code import _setup
from plugway_claude_code._edits import Edit, apply, undo_changes
from plugway_claude_code._json_file import NotEditable
from plugway_claude_code._receipt import Receipt, folder
from plugway_claude_code._setup import plan, receipt_name, settings_path

from .conftest import TOKEN, snapshot

PLAIN = {
    "$schema": "https://json.schemastore.org/claude-code-settings.json",
    "env": {"EDITOR": "vim", "ANTHROPIC_BASE_URL": "https://other.example"},
    "model": "opus",
    "permissions": {"allow": ["Bash(ls:*)"], "deny": ["WebSearch"]},
    "hooks": {"SessionStart": [{"hooks": [{"type": "command", "command": "date"}]}]},
    "statusLine": {"type": "command", "command": "starship"},
}
ODD = {
    "name": "Zoë ☕ \u2028",
    "empty": {},
    "list": [],
    "numbers": [1, 1.5, 1e3, -0.0],
    "env": {"ANTHROPIC_API_KEY": "sk-other", "CLAUDE_CODE_USE_BEDROCK": "1"},
}
FILES = {
    "two spaces": json.dumps(PLAIN, indent=2).encode() + b"\n",
    "no newline at the end": json.dumps(PLAIN, indent=2).encode(),
    "tabs": json.dumps(PLAIN, indent="\t").encode() + b"\n",
    "four spaces": json.dumps(PLAIN, indent=4).encode() + b"\n\n",
    "one line": json.dumps(PLAIN).encode(),
    "no spaces": json.dumps(PLAIN, separators=(",", ":")).encode(),
    "lines of Windows": json.dumps(PLAIN, indent=2).replace("\n", "\r\n").encode(),
    "a byte order mark": b"\xef\xbb\xbf" + json.dumps(PLAIN, indent=2).encode() + b"\n",
    "odd values": json.dumps(ODD, indent=2, ensure_ascii=False).encode() + b"\n",
    "escaped odd values": json.dumps(ODD, indent=1).encode() + b"\n",
    "empty object": b"{}",
    "empty file": b"",
    "laid out by hand": b'{ "env" : {"A":"1",\n   "B":"2"},\n\n\n "model": "opus"   }\n',
}
REFUSED = {
    "comments": (b'{\n  // mine\n  "model": "opus"\n}\n', r"settings\.json:2:3: has comments"),
    "a comment block": (b'{"a": 1, /* mine */ "b": 2}', r":1:10: has comments"),
    "a trailing comma": (b'{\n  "model": "opus",\n}\n', r":(2|3):\d+: is not valid JSON"),
    "broken": (b'{"model": "opus"', r":1:17: is not valid JSON"),
    "a key twice": (b'{"env": {"A": "1", "A": "2"}}', "has the key `A` twice"),
    "a list": (b"[]", "is not a JSON object"),
    "no text": (b'{"a": "\xff"}', "is not UTF-8 text at byte 7"),
    "env is a list": (b'{"env": []}', "`env` is not an object"),
    "hooks are a word": (b'{"hooks": {"SessionStart": "x"}}', "`hooks.SessionStart` is not a list"),
}


def set_up(facts, scope="user"):
    receipt = Receipt.load(receipt_name(scope))
    made = plan(scope, facts, receipt)
    for planned in made.files:
        receipt.write(planned, private=True)
    return made


def undo(scope="user"):
    receipt = Receipt.load(receipt_name(scope))
    return {path: receipt.undo(path) for path in list(receipt.entries)}


def settings(home):
    return json.loads((home / ".claude/settings.json").read_text("utf-8-sig"))


def write_settings(home, raw, mode=0o644):
    path = home / ".claude/settings.json"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(raw)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("name", FILES)
def test_undo_gives_back_every_byte_and_mode(home, facts, name):
    write_settings(home, FILES[name])
    (home / ".claude.json").write_bytes(b'{"numStartups": 3, "mcpServers": {"x": {"type": "sse"}}}')
    before = snapshot(home)
    made = set_up(facts())
    assert not made.notes
    assert settings(home)["env"]["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:8484"
    assert (home / ".claude/settings.json").stat().st_mode & 0o777 == 0o600
    undo()
    after = snapshot(home)
    after.pop("plugway.yaml")
    assert after == before
    assert not list(folder().glob("*.json"))


def test_a_file_with_the_token_is_kept_from_others_also_when_another_opened_it_again(home, facts):
    path = write_settings(home, b"{}", mode=0o664)
    set_up(facts())
    path.chmod(0o644)
    set_up(facts())
    assert path.stat().st_mode & 0o777 == 0o600
    undo()
    assert path.stat().st_mode & 0o777 == 0o664


def test_a_receipt_of_before_that_knows_no_mode_is_taken_back_too(home, facts):
    path = write_settings(home, b"{}", mode=0o640)
    set_up(facts())
    receipt = folder() / "claude-code-user.json"
    rows = [
        {k: v for k, v in row.items() if k != "mode"} for row in json.loads(receipt.read_text())
    ]
    receipt.write_text(json.dumps(rows))
    undo()
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"{}", 0o600)


@pytest.mark.parametrize("name", FILES)
def test_a_set_up_made_twice_is_undone_as_well(home, facts, name):
    write_settings(home, FILES[name])
    before = snapshot(home)
    set_up(facts(window=32768))
    once = settings(home)
    set_up(facts(window=65536))
    set_up(facts(window=32768))
    assert settings(home) == once
    undo()
    after = snapshot(home)
    after.pop("plugway.yaml")
    assert after == before


def test_without_a_file_one_is_made_for_the_user_alone_and_taken_away_again(home, facts):
    set_up(facts())
    path = home / ".claude/settings.json"
    assert path.stat().st_mode & 0o777 == 0o600
    made = settings(home)
    assert made["env"]["ANTHROPIC_AUTH_TOKEN"] == TOKEN
    assert made["statusLine"]["command"] == "'/opt/plug way/bin/plugway' statusline"
    (hook,) = made["hooks"]["SessionStart"]
    assert hook["hooks"][0]["command"] == "'/opt/plug way/bin/plugway' up --quiet"
    undo()
    assert set(snapshot(home)) == {"plugway.yaml"}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_cannot_be_edited_is_left_and_nothing_else_is_written(home, facts, name):
    raw, reason = REFUSED[name]
    write_settings(home, raw)
    before = snapshot(home)
    with pytest.raises(NotEditable, match=reason) as told:
        set_up(facts())
    assert "Nothing was written" in str(told.value)
    after = snapshot(home)
    after.pop("plugway.yaml")
    assert after == before


def test_a_read_only_file_is_left(home, facts):
    write_settings(home, b"{}", mode=0o444)
    with pytest.raises(NotEditable, match="is read-only: run `chmod u\\+w"):
        set_up(facts())
    assert settings(home) == {}


def test_a_link_stays_a_link_and_its_target_is_written(home, facts):
    target = home / "dotfiles/claude.json"
    target.parent.mkdir()
    target.write_bytes(FILES["tabs"])
    (home / ".claude").mkdir()
    (home / ".claude/settings.json").symlink_to("../dotfiles/claude.json")
    before = snapshot(home)
    set_up(facts())
    assert (home / ".claude/settings.json").is_symlink()
    assert json.loads(target.read_text())["env"]["ANTHROPIC_AUTH_TOKEN"] == TOKEN
    undo()
    after = snapshot(home)
    after.pop("plugway.yaml")
    assert after == before


def test_what_the_user_chose_wins_where_it_does_no_harm(home, facts):
    write_settings(home, FILES["two spaces"])
    set_up(facts(window=32768))
    made = settings(home)
    assert made["model"] == "opus"
    assert made["statusLine"] == PLAIN["statusLine"]
    assert made["env"]["EDITOR"] == "vim"
    assert made["hooks"]["SessionStart"][0] == PLAIN["hooks"]["SessionStart"][0]
    assert made["permissions"]["allow"] == ["Bash(ls:*)"]
    assert made["permissions"]["deny"].count("WebSearch") == 1
    assert "Workflow" in made["permissions"]["deny"]


def test_other_ways_around_the_gateway_are_closed_and_opened_again(home, facts):
    write_settings(home, FILES["odd values"])
    set_up(facts())
    env = settings(home)["env"]
    assert env["ANTHROPIC_API_KEY"] == env["CLAUDE_CODE_USE_BEDROCK"] == ""
    undo()
    assert settings(home)["env"] == ODD["env"]


def test_what_others_changed_since_is_theirs(home, facts):
    path = write_settings(home, FILES["two spaces"])
    set_up(facts())
    changed = settings(home)
    changed["theme"] = "dark"
    changed["env"]["ANTHROPIC_BASE_URL"] = "https://third.example"
    changed["hooks"]["SessionStart"].append({"hooks": []})
    path.write_text(json.dumps(changed, indent=2))
    (kept,) = [keys for keys in undo().values() if keys]
    assert kept == ["env.ANTHROPIC_BASE_URL"]
    expected = json.loads(FILES["two spaces"])
    expected["theme"] = "dark"
    expected["env"]["ANTHROPIC_BASE_URL"] = "https://third.example"
    expected["hooks"]["SessionStart"].append({"hooks": []})
    assert settings(home) == expected


def test_a_file_that_was_removed_since_stays_removed(home, facts):
    path = write_settings(home, FILES["tabs"])
    set_up(facts())
    path.unlink()
    undo()
    assert not path.exists()


def test_the_tools_entry_is_added_beside_others_and_only_where_there_is_a_route(home, facts):
    state = home / ".claude.json"
    state.write_text('{\n  "mcpServers": {\n    "x": {}\n  }\n}')
    set_up(facts(mcp=False))
    assert "plugway" not in state.read_text()
    set_up(facts(mcp=True))
    entry = json.loads(state.read_text())["mcpServers"]["plugway"]
    assert entry["url"] == "http://127.0.0.1:8484/mcp"
    assert entry["headers"] == {"Authorization": f"Bearer {TOKEN}"}
    assert not (home / ".claude.json.lock").exists()


def test_the_picker_knows_the_models_before_the_first_start(home, facts):
    set_up(facts())
    cache = json.loads((home / ".claude/cache/gateway-models.json").read_text())
    assert cache["baseUrl"] == settings(home)["env"]["ANTHROPIC_BASE_URL"]
    assert cache["models"] == [{"id": "anthropic/local/coder", "display_name": "Coder"}]


def test_vs_code_gets_its_own_entries_and_a_commented_file_gets_a_snippet(home, facts):
    file = home / ".config/Code/User/settings.json"
    file.parent.mkdir(parents=True)
    raw = b'{"claudeCode.environmentVariables": [{"name": "A", "value": "1"}]}'
    file.write_bytes(raw)
    set_up(facts())
    made = json.loads(file.read_text())
    names = [row["name"] for row in made["claudeCode.environmentVariables"]]
    assert names == ["A", "ANTHROPIC_BASE_URL", "ANTHROPIC_AUTH_TOKEN"]
    undo()
    assert file.read_bytes() == raw
    file.write_bytes(b'{\n  // mine\n  "editor.tabSize": 2\n}')
    made = set_up(facts())
    (note,) = made.notes
    assert "has comments" in note
    assert '"claudeCode.disableLoginPrompt": true' in note
    assert b"// mine" in file.read_bytes()


def test_a_project_gets_its_local_file_and_never_the_shared_one(home, facts):
    project = home / "project"
    set_up(facts(), "project")
    assert settings_path("project") == project / ".claude/settings.local.json"
    assert sorted(snapshot(project)) == [".claude/settings.local.json"]
    servers = json.loads((home / ".claude.json").read_text())["projects"][str(project)]
    assert "plugway" in servers["mcpServers"]
    undo("project")
    assert not snapshot(project)


def test_managed_settings_are_written_as_root_and_not_against_a_forced_login(
    home, facts, monkeypatch
):
    managed = home / "etc"
    monkeypatch.setattr(_setup, "managed_folder", lambda: managed)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(PlugwayError, match="sudo"):
        set_up(facts(), "managed")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    set_up(facts(), "managed")
    assert (managed / "managed-settings.d/50-plugway.json").is_file()
    undo("managed")
    assert not snapshot(managed)
    (managed / "managed-settings.json").write_text('{"forceLoginMethod": "console"}')
    with pytest.raises(PlugwayError, match="forces a login"):
        set_up(facts(), "managed")


def test_a_file_changed_while_it_is_written_is_left_to_the_other(home, facts):
    path = write_settings(home, b"{}")
    receipt = Receipt.load(receipt_name("user"))
    planned = plan("user", facts(), receipt).files[0]
    path.write_bytes(b'{"theme": "dark"}')
    with pytest.raises(NotEditable, match="changed by another program"):
        receipt.write(planned, private=True)
    assert path.read_bytes() == b'{"theme": "dark"}'


def test_a_file_that_other_users_clients_read_keeps_its_permissions(home, facts):
    path = write_settings(home, b"{}", mode=0o644)
    receipt = Receipt.load(receipt_name("user"))
    for planned in plan("user", facts(), receipt).files:
        receipt.write(planned, private=False)
    assert path.stat().st_mode & 0o777 == 0o644


def test_copies_and_receipts_are_the_users_alone(home, facts):
    write_settings(home, FILES["tabs"])
    set_up(facts())
    files = [path for path in folder().rglob("*") if path.is_file()]
    assert any(path.read_bytes() == FILES["tabs"] for path in files)
    assert all(path.stat().st_mode & 0o077 == 0 for path in [*files, folder()])


def test_edits_are_taken_back_in_any_state_of_the_document():
    edits = [Edit(("a", "b"), 1), Edit(("list",), "x", "append"), Edit(("kept",), 2, "default")]
    document, changes = apply({"kept": 1}, edits)
    assert document == {"kept": 1, "a": {"b": 1}, "list": ["x"]}
    assert undo_changes(document, changes) == ({"kept": 1}, [])
    assert undo_changes({}, changes) == ({}, [])
    assert undo_changes({"a": 5, "list": "y"}, changes) == ({"a": 5, "list": "y"}, [])
    assert undo_changes({"a": {"b": 3}}, changes) == ({"a": {"b": 3}}, ["a.b"])


def test_paths_follow_the_clients_own_folder(home, facts, monkeypatch):
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(home / "elsewhere"))
    set_up(facts())
    names = {Path(name).parts[0] for name in snapshot(home)}
    assert names == {"elsewhere", "plugway.yaml"}
