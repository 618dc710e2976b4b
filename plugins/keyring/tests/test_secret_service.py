"""A real keyring: GNOME's Secret Service on a message bus of its own."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

NEEDED = ("dbus-run-session", "gnome-keyring-daemon")
MISSING = [name for name in NEEDED if shutil.which(name) is None]
pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"needs Debian's gnome-keyring and dbus: {MISSING}"),
]
CANARY = "sk-canary-71c05e9d3ab84f26-Mw3k"
PLUGWAY = Path(sys.executable).with_name("plugway")
CONFIG = """
server: {{port: 0, token: {{$keyring: gate}}}}
plugins:
  - use: anthropic-compatible
    options: {{base_url: "{url}", api_key: {{$keyring: work}}}}
"""

TYPIST = """
import os, pty, sys
child, terminal = pty.fork()
if not child:
    os.execv(sys.argv[1], sys.argv[1:])
shown = b""
while b"(not shown)" not in shown:
    shown += os.read(terminal, 1024)
os.write(terminal, os.environ["KEY"].encode() + b"\\n")
try:
    while piece := os.read(terminal, 1024):
        shown += piece
except OSError:
    pass
print(shown.decode(), file=sys.stdout, flush=True)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.fixture
def session(tmp_path):
    """Runs a shell script in a session whose keyring is unlocked, or locked."""

    def run(script, unlocked=True):
        start = "printf pw | gnome-keyring-daemon --unlock --components=secrets >/dev/null"
        lines = [start if unlocked else "true", f"P={PLUGWAY}", script]
        done = subprocess.run(
            ["dbus-run-session", "--", "sh", "-c", "\n".join(lines)],
            capture_output=True,
            text=True,
            env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "KEY": CANARY},
            timeout=60,
            check=False,
        )
        assert CANARY not in done.stdout + done.stderr
        return done

    return run


def test_a_key_survives_in_the_keyring_and_nowhere_else(session, tmp_path):
    done = session(
        'printf %s "$KEY" | $P keys set work --for https://gateway.example.com || exit 3\n'
        "$P keys list --json"
    )
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert (row["origin"], row["ends_in"]) == ("https://gateway.example.com", CANARY[-4:])
    assert "SecretService" in done.stderr
    again = session("$P keys list --json && $P keys rm work --yes && $P keys list --json")
    assert again.stdout.count('"stored"') == 1
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(CANARY.encode() in content for content in files)


def test_a_gateway_takes_its_keys_from_it_and_holds_them_to_their_place(session, tmp_path):
    for name, url in (
        ("right", "https://gateway.example.com/api"),
        ("wrong", "https://evil.example"),
    ):
        (tmp_path / f"{name}.yaml").write_text(CONFIG.format(url=url))
    done = session(
        "printf gateway-token-0123456789 | $P keys set gate --anywhere\n"
        'printf %s "$KEY" | $P keys set work --for https://gateway.example.com\n'
        "$P check --config $HOME/right.yaml && ! $P check --config $HOME/wrong.yaml"
    )
    assert done.returncode == 0, done.stderr
    assert "the configuration is valid" in done.stderr
    assert "is not sent to https://evil.example" in done.stderr


def test_a_key_typed_at_a_terminal_is_not_shown(session, tmp_path):
    typist = tmp_path / "type.py"
    typist.write_text(TYPIST)
    done = session(f"{sys.executable} {typist} $P keys set openai && $P keys list --json")
    assert done.returncode == 0, done.stderr
    assert CANARY[-4:] in done.stdout
    assert "(not shown)" in done.stdout


def test_a_locked_keyring_is_told_within_its_time(session):
    assert session('printf %s "$KEY" | $P keys set openai').returncode == 0
    start = "gnome-keyring-daemon --start --components=secrets >/dev/null 2>&1"
    done = session(f"{start}\ntimeout 20 $P keys test openai", unlocked=False)
    assert done.returncode == 1, done.stderr
    assert "the keyring timed out" in done.stderr
    assert "unlock it" in done.stderr
