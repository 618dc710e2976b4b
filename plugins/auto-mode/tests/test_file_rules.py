"""Rules that forbid files hold in whatever way the file or the rule is written."""

from __future__ import annotations

import pytest
from asking import CWD, safeguards

from plugway_auto_mode._commands import Rules
from plugway_auto_mode._context import asked
from plugway_auto_mode._review import Call, decide

EDIT, READ = "Edit(x)", "Read(x)"


def outcomes(rule, *calls, kind="deny", **context):
    rules = {"allow": [], "deny": [], "ask": [], kind: [rule]}
    found = asked(safeguards(rules=rules, **context))
    assert found is not None
    made = [Call(f"t{n}", name, given) for n, (name, given) in enumerate(calls)]
    return [decision.outcome for decision in decide(made, found, Rules.build())]


def edit(path):
    return "Edit", {"file_path": path}


def of_edit(rule, path, **context):
    return outcomes(rule, edit(path), **context)[-1]


RULES_FOR_X = [
    "x",
    "./x",
    "././x",
    ".//x",
    "../shop/x",
    "./../shop/x",
    "../../dana/shop/x",
    "a/../x",
    "*/../x",
    "/x",
    f"/{CWD}/x",
    CWD + "/x",
    "//home//dana/./shop/x",
    "//home/dana/other/../shop/x",
    "~/shop/x",
    "~/./shop//x",
    "~//shop/x",
    "**/x",
    "x/",
    " x ",
    ".",
    "./",
    "..",
    "~",
    "~/",
    "//",
    "/",
    "../**",
    "../*/x",
    "../shop",
    "//home/*/shop/x",
]


@pytest.mark.parametrize("what", RULES_FOR_X)
@pytest.mark.parametrize("path", ["x", f"{CWD}/x"])
def test_a_rule_is_found_in_whatever_way_it_names_the_file(what, path):
    assert of_edit(f"Edit({what})", path) == "flagged"
    assert of_edit(f"Edit({what})", path, kind="ask") == "none"


PATHS_OF_X = [
    "x",
    "./x",
    ".//x",
    "a/../x",
    "./a/./../x",
    "../shop/x",
    "../../dana/shop/x",
    "~/shop/x",
    "~//shop/./x",
    f"{CWD}/x",
    f"/{CWD}/x",
    f"{CWD}//x",
    f"{CWD}/./x",
    f"{CWD}/a/b/../../x",
    f"{CWD}/../shop/x",
    "/../home/dana/shop/x",
    "x/",
    "x/.",
]


@pytest.mark.parametrize("path", PATHS_OF_X)
@pytest.mark.parametrize("what", ["x", "../shop/x", f"/{CWD}/x"])
def test_a_file_is_found_in_whatever_way_the_call_names_it(path, what):
    assert of_edit(f"Edit({what})", path) == "flagged"


@pytest.mark.parametrize(
    ("what", "path"),
    [
        ("../shop/x", "y"),
        ("../x", "x"),
        ("../other/x", "x"),
        ("/x", "a/x"),
        ("../shop/x", "a/x"),
        ("a/../x", "a/x"),
        ("//x", "x"),
        ("~/x", "x"),
        ("//etc/**", "etc/hosts"),
        ("x", "xy"),
        ("#x", "x"),
        ("!x", "x"),
        ("[a", "b"),
    ],
)
def test_a_rule_about_another_file_forbids_nothing(what, path):
    assert of_edit(f"Edit({what})", path) == "passed"


@pytest.mark.parametrize(
    ("what", "path"), [("#x", "#x"), ("!x", "!x"), ("[ab]x", "ax"), ("a x.txt", "a x.txt")]
)
def test_signs_of_gitignore_in_a_name(what, path):
    assert of_edit(f"Edit({what})", path) == "flagged"


@pytest.mark.parametrize(
    ("platform", "outcome"),
    [("darwin", "flagged"), ("win32", "flagged"), ("", "flagged"), ("linux", "none")],
)
@pytest.mark.parametrize(
    ("what", "path"),
    [
        ("x", "X"),
        ("SECRET/**", "secret/a"),
        ("../Shop/x", "x"),
        ("~/Shop/x", "x"),
        ("straße", "STRASSE"),
        ("caf\u00e9", "cafe\u0301"),
        (f"/{CWD}/x", f"{CWD.upper()}/x"),
    ],
)
def test_capitals_hide_no_file(what, path, platform, outcome):
    found = of_edit(f"Edit({what})", path, platform=platform)
    assert found == outcome or (found == "flagged" and path.startswith("/HOME"))


def test_a_mounted_windows_disk_knows_no_capitals():
    folder = "/mnt/c/shop"
    trusted = {"primary": {"path": folder}}
    assert of_edit(EDIT, "X", live_cwd=folder, trusted_directories=trusted) == "flagged"


UNKNOWN = [
    " x",
    "x ",
    "x\n",
    "x\0",
    "\u200bx",
    "~dana/shop/x",
    "$HOME/shop/x",
    "${PWD}/x",
    "%USERPROFILE%\\x",
    "file:///home/dana/shop/x",
    "C:\\shop\\x",
    "C:/shop/x",
    "/proc/self/cwd/x",
    5,
    None,
    ["x"],
]


@pytest.mark.parametrize("path", UNKNOWN)
def test_a_path_that_is_not_known_passes_under_no_rule(path):
    for tool in ("Edit", "Read"):
        call = (tool, {"file_path": path})
        assert outcomes(f"{tool}(other)", call) != ["passed"]
        assert outcomes(tool, call, kind="allow") == ["passed"] or path == "/proc/self/cwd/x"
    rules = {"allow": ["Edit"], "deny": ["Edit(other)"], "ask": []}
    found = asked(safeguards(rules=rules))
    assert found is not None
    (decision,) = decide([Call("t", *edit(path))], found, Rules.build())
    assert decision.outcome in ("none", "flagged")


@pytest.mark.parametrize(
    "what", ["**/../x", "x\\", "\\", "$HOME/shop/x", "${PWD}/x", "~dana/shop/x", "C:\\shop\\x"]
)
def test_a_rule_that_is_not_known_passes_nothing(what):
    assert of_edit(f"Edit({what})", "y") == "none"


def test_after_a_cd_a_rule_about_relative_paths_still_holds():
    moved = ("Bash", {"command": "cd src"})
    for rule in ("Edit(x)", "Edit(./x)", "Edit(../shop/x)"):
        assert outcomes(rule, moved, edit(f"{CWD}/x"))[-1] == "flagged"
        assert outcomes(rule, moved, edit("x"))[-1] == "none"


def test_in_a_folder_below_rules_begin_there_and_at_the_working_folder():
    for rule in ("Edit(/a/x)", "Edit(/src/a/x)", "Edit(../src/a/x)", "Edit(a/x)"):
        assert of_edit(rule, "a/x", live_cwd=f"{CWD}/src") == "flagged"


@pytest.mark.parametrize(
    "path", ["x", "/tmp/shop/x", "/private/tmp/shop/x", "/Volumes/disk/shop/x"]
)
@pytest.mark.parametrize(
    "what", ["//tmp/shop/x", "//private/tmp/shop/x", "//Volumes/disk/shop/x", "../shop/x"]
)
def test_a_working_folder_with_several_names_is_one(what, path):
    folder = {"path": "/tmp/shop", "resolved": ["/private/tmp/shop", "/Volumes/disk/shop"]}
    context = {"live_cwd": "/tmp/shop", "trusted_directories": {"primary": folder}}
    assert of_edit(f"Edit({what})", path, platform="darwin", **context) == "flagged"


@pytest.mark.parametrize(
    "given",
    [
        {"path": "secret", "pattern": "*"},
        {"path": "./secret/", "pattern": "*"},
        {"pattern": "secret/*"},
        {"pattern": "./a/../secret/*"},
        {"pattern": f"{CWD}/secret/*"},
        {"path": "secret", "pattern": "*", "file_path": "other"},
        {"path": "src", "pattern": "../secret/*"},
    ],
)
def test_a_search_in_a_folder_that_is_forbidden(given):
    assert outcomes("Read(secret/**)", ("Glob", given)) == ["flagged"]


@pytest.mark.parametrize("given", [{"glob": "secret/**"}, {"path": ".", "glob": "./secret/*.py"}])
def test_a_search_for_text_in_files_that_are_forbidden(given):
    assert outcomes("Read(secret/**)", ("Grep", {"pattern": "x", **given})) == ["flagged"]
    assert outcomes("Read(other/**)", ("Grep", {"pattern": "x", **given})) == ["passed"]


@pytest.mark.parametrize(
    "pattern", ["/etc/*", "../*", "~/*", "*/../../x", "{a,/etc}/*", "**/../../*", 5, "a/../../b"]
)
def test_a_search_that_leaves_the_working_folder_is_not_known_to_be_harmless(pattern):
    assert outcomes("Bash(x)", ("Glob", {"pattern": pattern})) == ["open"]


@pytest.mark.parametrize("key", ["path", "notebook_path"])
def test_only_the_path_that_the_tool_takes_counts(key):
    assert outcomes(EDIT, ("Edit", {"file_path": "x", key: "y"})) == ["flagged"]
    given = {key: "x", "file_path": "/etc/hosts"}
    assert outcomes("Edit(x)", ("Edit", given), kind="allow") == ["flagged"]


@pytest.mark.parametrize("path", [".GIT/hooks/pre-commit", ".Claude/settings.json", "a/.ENV"])
def test_capitals_hide_no_file_that_decides_what_runs(path):
    assert of_edit("Bash(x)", path) == "open"


@pytest.mark.parametrize(
    "command",
    [
        "cat x",
        "cat ./x",
        "head ../shop/x",
        f"wc -l {CWD}/x",
        "cat y x",
        "cat < x",
        "git show HEAD:x",
        "grep --file=x y",
        "cat y && sort 'x'",
        "echo $(cat x)",
    ],
)
def test_a_command_that_may_read_a_forbidden_file_is_not_passed(command):
    assert outcomes(READ, ("Bash", {"command": command})) != ["passed"]
    assert outcomes("Read(z)", ("Bash", {"command": command})) in (["passed"], ["open"])


def test_so_many_rules_and_words_that_they_are_not_compared_pass_nothing():
    command = "echo " + " ".join(f"w{n}" for n in range(50))
    rules = {"allow": [], "deny": [f"Read(a{n})" for n in range(1_000)], "ask": []}
    found = asked(safeguards(rules=rules))
    assert found is not None
    (decision,) = decide([Call("t", "Bash", {"command": command})], found, Rules.build())
    assert decision.outcome == "none"
