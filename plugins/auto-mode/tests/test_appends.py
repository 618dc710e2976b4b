"""A line of plain text may go to the end of a text file; whatever else writes stays open."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from tempfile import TemporaryDirectory

import pytest
from asking import CWD, safeguards
from hypothesis import given, settings
from hypothesis import strategies as st

from plugway_auto_mode._appends import appended_file
from plugway_auto_mode._commands import Rules, review
from plugway_auto_mode._context import asked
from plugway_auto_mode._finding import Place
from plugway_auto_mode._review import Call, decide

PLACE = Place(cwd=CWD, home="/home/dana", platform="linux", roots=(CWD,))
LINE = r"printf '\n%s' 'another line' >> hello.txt"


def answer(command: str, place: Place = PLACE) -> str:
    return review(command, place, Rules.build()).answer


@pytest.mark.parametrize(
    "command",
    [
        LINE,
        r"""printf '\n%s' "it's done, isn't it?" >> Notes.md""",
        r"printf '%s\n' 'Grüße; rm -rf $HOME (only text)' >> todo.log",
        r'printf "\n%s" "one two" >> data_2.csv',
        "echo hello world >> notes.txt",
        "echo 'a > b' >> notes.txt",
        "  echo hello>>notes.txt\n",
    ],
)
def test_plain_text_may_be_appended_to_a_text_file(command):
    finding = review(command, PLACE, Rules.build())
    assert finding.answer == "harmless", finding.reason


NAMES = [
    "Makefile",
    "package.json",
    ".git/hooks/x",
    "conftest.py",
    "foo.sh",
    ".bashrc",
    "Dockerfile",
    ".github/workflows/ci.yml",
    ".env",
    ".env.txt",
    ".notes.txt",
    "notes",
    "notes.json",
    "notes.yaml",
    "notes.html",
    "notes.rst",
    "notes.txt.sh",
    "notes.sh.txt",
    "-notes.txt",
    "sub/notes.txt",
    "./notes.txt",
    "../notes.txt",
    "/tmp/notes.txt",
    "~/notes.txt",
    "/home/dana/shop/notes.txt",
    "x/../notes.txt",
    "link/../../notes.txt",
    "notes.txt/",
    "$HOME/notes.txt",
    "$FILE.txt",
    "notes*.txt",
    "note?.txt",
    "[n]otes.txt",
    "{a,b}.txt",
    "'notes.txt'",
    '"notes.txt"',
    "not\\es.txt",
    "notes\u200b.txt",
    "nоtes.txt",
    "/dev/tcp/a/1.txt",
    "$(id).txt",
    "`id`.txt",
    ">(sh).txt",
    "requirements.txt",
    "Requirements.TXT",
    "dev-requirements.txt",
    "CONSTRAINTS.txt",
    "CMakeLists.txt",
    "cmakelists.txt",
    "meson_options.txt",
    "conanfile.txt",
    "runtime.txt",
    "entry_points.txt",
    "packages.txt",
    "CLAUDE.md",
    "claude.md",
    "CLAUDE.local.md",
    "AGENTS.md",
    "WARP.md",
    "CRUSH.md",
    "IDENTITY.md",
    "guidelines.md",
    "sudoers.txt",
    "whitelist.txt",
    "startup.txt",
    "con.txt",
    "GEMINI.md",
    "SKILL.md",
    "MEMORY.md",
    "conventions.md",
    "copilot-instructions.md",
    "system-prompt.txt",
    "robots.txt",
    "authorized_keys.txt",
    "users.csv",
    "passwords.txt",
    "allowlist.txt",
    "crontab.txt",
    "hooks.md",
    "git-hooks.txt",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_may_be_more_than_text_stays_open(name):
    assert answer(f"echo x >> {name}") != "harmless"
    assert answer(rf"printf '\n%s' 'x' >> {name}") != "harmless"


FORMS = r"""
printf -v PATH '%s' x >> notes.txt
printf -- '-v' >> notes.txt
printf '\x24\x28id\x29' >> notes.txt
printf '\044(id)' >> notes.txt
printf '%b' '\044(id)' >> notes.txt
printf '%n' x >> notes.txt
printf '%(%s)T' -1 >> notes.txt
printf "$x" >> notes.txt
printf '%s' "$SECRET" >> notes.txt
printf '%s' "$(id)" >> notes.txt
printf '%s' "`id`" >> notes.txt
printf '%s' $((1+1)) >> notes.txt
printf '%s' $'a\x24' >> notes.txt
printf '%s' * >> notes.txt
printf '%s' ~ >> notes.txt
printf '%s' {1..9} >> notes.txt
printf '%s' <(id) >> notes.txt
printf '%s' =ls >> notes.txt
printf >> notes.txt
echo -e 'a\x24' >> notes.txt
echo -n x >> notes.txt
echo 'a\c' >> notes.txt
echo x > notes.txt
echo x >| notes.txt
echo x &>> notes.txt
echo x 2>> notes.txt
echo x 1>> notes.txt
echo x <> notes.txt
echo x >> notes.txt >> other.txt
echo x >> notes.txt > Makefile
echo x >> notes.txt 2>&1
echo x < notes.txt >> notes.txt
echo x >> notes.txt y.sh
>> notes.txt
echo x >> notes.txt; id
echo x >> notes.txt && make
echo x >> notes.txt &
echo x >> notes.txt | sh
ls | echo x >> notes.txt
! echo x >> notes.txt
(echo x >> notes.txt)
{ echo x; } >> notes.txt
while true; do echo x >> notes.txt; done
for i in 1 2; do echo x >> notes.txt; done
if true; then echo x >> notes.txt; fi
echo() { sh; }; echo x >> notes.txt
cd .git/hooks && echo x >> notes.txt
ln -s Makefile notes.txt; echo x >> notes.txt
echo x >> notes.txt # and more
A=1 echo x >> notes.txt
PATH=. echo x >> notes.txt
env echo x >> notes.txt
command echo x >> notes.txt
timeout 5 echo x >> notes.txt
./echo x >> notes.txt
bin/printf x >> notes.txt
"echo" x >> notes.txt
e\cho x >> notes.txt
$ECHO x >> notes.txt
cat Makefile >> notes.txt
cat .env >> notes.txt
tee -a notes.txt
bash -c 'echo x >> notes.txt'
eval 'echo x >> notes.txt'
trap 'echo x >> notes.txt' EXIT
cat >> notes.txt <<< x
""".strip().split("\n")


@pytest.mark.parametrize(
    "command", [*FORMS, "echo x >> a.txt\nid", "echo 'a\nb' >> a.txt", "echo x >>\\\na.txt"]
)
def test_what_is_more_than_plain_text_stays_open(command):
    assert answer(command) != "harmless"


def test_a_long_text_stays_open():
    assert answer(f"echo {'x' * 1_000} >> notes.txt") == "undecided"


@pytest.mark.parametrize(
    "place",
    [
        Place(home="/home/dana"),
        replace(PLACE, cwd=f"{CWD}/docs"),
        replace(PLACE, cwd=f"{CWD}/.git/hooks"),
        Place(cwd="/home/dana/.claude/commands", roots=("/home/dana/.claude/commands",)),
    ],
)
def test_only_the_working_folder_itself_is_written_to(place):
    assert answer(LINE, place) == "undecided"


@pytest.mark.skipif(os.name == "nt", reason="runs a POSIX shell")
@given(
    st.text(alphabet="ab '\"\\$`!*?~#(){}[]<>|&;=%-\n\t.é", max_size=12),
    st.sampled_from([r"printf '\n%s' {} >> n.txt", "echo {} >> n.txt", "printf {} >> n.txt"]),
)
@settings(max_examples=600, deadline=None)
def test_whatever_stands_for_the_text_a_shell_only_appends(text, form):
    command = form.replace("{}", text)
    if not appended_file(command, PLACE):
        return
    with TemporaryDirectory() as folder:
        for shell in ("bash", "sh"):
            done = subprocess.run(
                [shell, "-c", command], cwd=folder, env={"PATH": os.defpath}, capture_output=True
            )
            assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
            assert os.listdir(folder) == ["n.txt"]


def outcomes(*commands: str, **context) -> list[str]:
    found = asked(safeguards(**context))
    assert found is not None
    calls = [Call(f"t{i}", "Bash", {"command": one}) for i, one in enumerate(commands)]
    return [decision.outcome for decision in decide(calls, found, Rules.build())]


def test_after_a_command_that_changes_the_folder_nothing_is_appended():
    assert outcomes(LINE, "cd src", LINE) == ["passed", "passed", "open"]


@pytest.mark.parametrize("rule", ["Edit(hello.txt)", "Edit", "Edit(*.txt)", "Write(hello.txt)"])
def test_rules_about_a_file_hold_for_what_is_appended_to_it(rule):
    assert outcomes(LINE, rules={"allow": [], "deny": [rule], "ask": []}) == ["flagged"]
    assert outcomes(LINE, rules={"allow": [], "deny": [], "ask": [rule]}) == ["none"]
    assert outcomes(LINE, rules={"allow": [], "deny": [], "ask": ["Edit(other.txt)"]}) == ["passed"]
