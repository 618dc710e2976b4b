"""The user's own rules: what forbids is read generously, what allows strictly."""

from __future__ import annotations

import pytest
from asking import CWD

from plugway_auto_mode._context import Rule
from plugway_auto_mode._finding import Place
from plugway_auto_mode._permissions import allows, forbids

PLACE = Place(cwd=CWD, home="/home/dana", roots=(CWD,))


def allowed(rule, name, given, commands=()):
    return allows([rule if isinstance(rule, Rule) else Rule(rule)], name, given, commands, PLACE)


@pytest.mark.parametrize(
    ("rule", "command", "fits"),
    [
        ("Bash", "anything at all", True),
        ("Bash(*)", "anything at all", True),
        ("Bash(ls)", "ls", True),
        ("Bash(ls)", "ls -la", False),
        ("Bash(npm run test:*)", "npm run test", True),
        ("Bash(npm run test:*)", "npm run test --watch", True),
        ("Bash(npm run test:*)", "npm run testing", False),
        ("Bash(npm run test:*)", "npm  run   test", True),
        ("Bash(git push *)", "git push", True),
        ("Bash(git push *)", "git push origin main", True),
        ("Bash(git push *)", "git pushy", False),
        ("Bash(git * main)", "git checkout main", True),
        ("Bash(git * main)", "git checkout main2", False),
        ("Bash(ls*)", "lsof", True),
        ("Bash(echo [a] (b))", "echo [a] (b)", True),
        ("PowerShell(Get-*)", "Get-Item", False),
        ("Bash(", "ls", False),
        ("", "ls", False),
    ],
)
def test_rules_about_commands(rule, command, fits):
    assert bool(allowed(rule, "Bash", {"command": command}, [command])) is fits


def test_an_allow_rule_must_fit_every_command():
    given = {"command": "npm test && rm -rf x"}
    assert not allowed("Bash(npm test:*)", "Bash", given, ["npm test", "rm -rf x"])
    both = [Rule("Bash(npm test:*)"), Rule("Bash(rm -rf x)")]
    assert allows(both, "Bash", given, ["npm test", "rm -rf x"], PLACE)


def test_a_command_that_was_not_understood_is_allowed_by_no_rule():
    assert not allowed("Bash", "Bash", {"command": "ls ("}, [])
    assert not allowed("Bash(ls *)", "Bash", {"command": "ls ("}, [])


def test_a_deny_rule_needs_one_command_only_or_the_whole_text():
    rules = [Rule("Bash(curl:*)")]
    assert forbids(rules, "Bash", {"command": "ls; curl x"}, ["ls", "curl x"], PLACE)[0]
    assert forbids(rules, "Bash", {"command": "curl ("}, [], PLACE)[0]
    assert not forbids(rules, "Bash", {"command": "ls"}, ["ls"], PLACE)[0]


@pytest.mark.parametrize(
    ("rule", "name", "given", "fits"),
    [
        (Rule("Read(~/docs/**)", "/home/dana", "/docs"), "Read", "/home/dana/docs/a/b.md", True),
        (Rule("Read(~/docs/**)", "/home/dana", "/docs"), "Read", "/home/dana/other/docs/b", False),
        (Rule("Read(~/docs/**)", "/home/dana", "/docs"), "Write", "/home/dana/docs/a", False),
        (Rule("Read(./.env)", "", ".env"), "Read", f"{CWD}/.env", True),
        (Rule("Read(./.env)", "", ".env"), "Read", f"{CWD}/deep/.env", True),
        (Rule("Read(./.env)"), "Grep", ".env", True),
        (
            Rule("Edit(/src/**)", "/home/dana/.claude", "/src"),
            "Write",
            "/home/dana/.claude/src/x",
            True,
        ),
        (Rule("Edit(//etc/**)"), "Edit", "/etc/hosts", True),
        (Rule("Edit(//etc/**)"), "Edit", f"{CWD}/etc/hosts", False),
        (Rule("Edit(src/**)"), "Write", f"{CWD}/src/../../../x", False),
        (Rule("Edit(~/notes/**)"), "Write", "~/notes/a", True),
        (Rule("Edit"), "NotebookEdit", "/anything", True),
        (Rule("Write(x)"), "Edit", f"{CWD}/x", False),
    ],
)
def test_rules_about_files(rule, name, given, fits):
    key = "notebook_path" if name == "NotebookEdit" else "path" if name == "Grep" else "file_path"
    assert bool(allowed(rule, name, {key: given})) is fits


@pytest.mark.parametrize(
    ("rule", "name", "given", "fits"),
    [
        ("WebFetch(domain:example.com)", "WebFetch", {"url": "https://example.com/a"}, True),
        (
            "WebFetch(domain:example.com)",
            "WebFetch",
            {"url": "https://example.com.evil.org/"},
            False,
        ),
        (
            "WebFetch(domain:example.com)",
            "WebFetch",
            {"url": "https://example.com@evil.org/"},
            False,
        ),
        ("WebFetch(domain:*.example.com)", "WebFetch", {"url": "https://a.example.com"}, True),
        ("WebFetch(domain:*.example.com)", "WebFetch", {"url": "https://notexample.com"}, False),
        ("WebFetch(domain:)", "WebFetch", {"url": "https://x.org"}, False),
        ("WebFetch(domain:x)", "WebFetch", {"url": "http://[bad"}, False),
        ("WebSearch", "WebSearch", {"query": "x"}, True),
        ("mcp__notes", "mcp__notes__add", {}, True),
        ("mcp__notes", "mcp__notes2__add", {}, False),
        ("mcp__notes__*", "mcp__notes__add", {}, True),
        ("mcp__notes__add", "mcp__notes__add", {}, True),
        ("mcp__notes__add", "mcp__notes__addition", {}, False),
        ("Agent(explore)", "Agent", {"subagent_type": "explore"}, True),
        ("Agent(explore)", "Agent", {"subagent_type": "other"}, False),
    ],
)
def test_rules_about_other_tools(rule, name, given, fits):
    assert bool(allowed(rule, name, given)) is fits


def test_a_rule_with_many_stars_reads_a_long_command_once():
    rule = Rule("Bash(" + "a*" * 30 + "b)")
    assert not forbids([rule], "Bash", {"command": "a" * 60_000}, [], PLACE)[0]
