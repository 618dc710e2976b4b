"""`plugway status`, `plugway explain` and `plugway new`."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from plugway.cli.main import main
from plugway_commands import _new as _commands_new


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


@pytest.mark.parametrize("word", ["status", "explain", "new"])
def test_every_command_has_help_with_an_example(plugway: Any, word: str) -> None:
    done = plugway(word, "--help")
    assert done.code == 0
    assert f"Example: plugway {word}" in done.out


# ── new ────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "template"
    module = folder / "src" / "plugway_template"
    module.mkdir(parents=True)
    (folder / "pyproject.toml").write_text(
        'name = "plugway-template"\n[project.entry-points.plugway]\n'
        'template = "plugway_template:Template"\n'
    )
    (folder / "README.md").write_text("A template of a plugin: `template`.\n- use: template\n")
    (module / "__init__.py").write_text(
        "class TemplateOptions: ...\nclass Template: ...\nname = 'template'\nTemplated = 1\n"
    )
    (module / "picture.bin").write_bytes(b"\xff\x00template")
    (module / "__pycache__").mkdir()
    (module / "__pycache__" / "x.pyc").write_bytes(b"")
    monkeypatch.setattr(_commands_new, "template_folder", lambda: folder)
    return folder


@pytest.mark.usefixtures("template")
def test_new_copies_the_template_under_the_new_name(plugway: Any, tmp_path: Path) -> None:
    done = plugway("new", "word-filter")
    assert (done.code, done.out) == (0, "plugway-word-filter\n")
    assert "pip install -e" in done.err
    assert "pytest plugway-word-filter" in done.err
    made = tmp_path / "plugway-word-filter"
    assert (made / "pyproject.toml").read_text() == (
        'name = "plugway-word-filter"\n[project.entry-points.plugway]\n'
        'word-filter = "plugway_word_filter:WordFilter"\n'
    )
    assert (made / "README.md").read_text() == (
        "A template of a plugin: `word-filter`.\n- use: word-filter\n"
    )
    module = made / "src" / "plugway_word_filter"
    assert (module / "__init__.py").read_text() == (
        "class WordFilterOptions: ...\nclass WordFilter: ...\nname = 'word-filter'\nTemplated = 1\n"
    )
    assert (module / "picture.bin").read_bytes() == b"\xff\x00template"
    assert not (module / "__pycache__").exists()


def test_new_leaves_no_name_of_the_real_template_behind(plugway: Any, tmp_path: Path) -> None:
    assert plugway("new", "word-filter").code == 0
    for path in (tmp_path / "plugway-word-filter").rglob("*"):
        assert "template" not in path.name
        if path.is_file():
            assert not re.search(r"plugway[-_]template|\bTemplate\b", path.read_text("utf-8"))


@pytest.mark.usefixtures("template")
def test_new_names_the_test_kit_of_the_clone_only_if_it_is_missing(
    plugway: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "plugins/testing" not in plugway("new", "one-filter").err

    def missing(_: str) -> None:
        return None

    monkeypatch.setattr(_commands_new, "find_spec", missing)
    assert "pip install ./plugins/testing" in plugway("new", "two-filter").err


def test_new_takes_a_folder_and_never_overwrites(plugway: Any, tmp_path: Path) -> None:
    assert plugway("new", "abc", "--directory", str(tmp_path / "here")).code == 0
    done = plugway("new", "abc", "--directory", str(tmp_path / "here"))
    assert done.code == 1
    assert "already exists" in done.err


@pytest.mark.usefixtures("template")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Upper", "lower-case"),
        ("../up", "lower-case"),
        ("a/b", "lower-case"),
        ("a--b", "lower-case"),
        ("1a", "lower-case"),
        ("ä", "lower-case"),
        ("a\nb", "lower-case"),
        ("x" * 41, "at most 40"),
        ("plugway-x", "it is added to the package name: `x`"),
        ("echo", "already exists (`plugway-echo`)"),
        ("template", "already exists"),
        ("none", "a Python keyword"),
    ],
)
def test_new_refuses_a_bad_name(plugway: Any, tmp_path: Path, name: str, words: str) -> None:
    before = sorted(tmp_path.iterdir())
    done = plugway("new", name)
    assert done.code == 1
    assert words in done.err
    assert sorted(tmp_path.iterdir()) == before


# ── a running gateway ──────────────────────────────────────────────────────────────────────────


class Scripted(BaseHTTPRequestHandler):
    """Answers like a gateway that has seen a little."""

    seen: ClassVar[list[tuple[str, str, bytes]]] = []
    status: ClassVar[int] = 200
    answers: ClassVar[dict[str, object]] = {}

    def do_GET(self) -> None:
        size = int(self.headers.get("content-length") or 0)
        credential = self.headers.get("authorization") or ""
        self.seen.append((self.path, credential, self.rfile.read(size)))
        body = json.dumps(self.answers.get(self.path, {})).encode()
        self.send_response(self.status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Scripted)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    Scripted.seen.clear()
    Scripted.status = 200
    port = server.server_address[1]
    text = f"server: {{port: {port}, token: abcdefghijklmnop}}\nplugins: []"
    monkeypatch.setenv("PLUGWAY_CONFIG", str(written(tmp_path / "c.yaml", text)))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    yield f"http://127.0.0.1:{port}"
    server.shutdown()
    server.server_close()
    thread.join()


MODELS = "/v1/models?limit=1000"
HEALTH = {
    "status": "ok",
    "uptime_seconds": 3725.0,
    "config": None,
    "plugins": ["router", "echo"],
    "backends": [{"name": "echo", "zone": "local"}],
    "exchanges": [{"id": "req_1", "model": "m", "seconds": 0.2}],
}


def test_status_shows_what_the_gateway_says(plugway: Any, gateway: str) -> None:
    Scripted.answers = {"/health": HEALTH}
    done = plugway("status")
    assert done.code == 0
    for words in (
        gateway,
        "1 h 2 min",
        "router",
        "echo",
        "local",
        "req_1",
        "token    `server.token`",
    ):
        assert words in done.out
    assert "abcdefghijklmnop" not in done.out
    credential = "Bearer abcdefghijklmnop"
    assert Scripted.seen == [(path, credential, b"") for path in ("/health", MODELS)]
    answer = json.loads(plugway("status", "--json").out)
    assert answer == {"running": True, "address": gateway, **HEALTH, "models": []}


def test_status_lists_the_models_that_are_served(plugway: Any, gateway: str) -> None:
    ids = [f"anthropic/echo/m{number}" for number in range(40)]
    listed = {"data": [{"id": name} for name in ids]}
    Scripted.answers = {"/health": HEALTH, MODELS: listed}
    shown = plugway("status").out
    assert "anthropic/echo/m0\n" in shown
    assert "m12" not in shown
    assert "and 28 more" in shown
    assert json.loads(plugway("status", "--json").out)["models"] == ids


def test_status_says_so_when_nothing_runs(plugway: Any, tmp_path: Path) -> None:
    path = written(tmp_path / "c.yaml", "server: {port: 1}\nplugins: []")
    done = plugway("status", "--config", str(path))
    assert (done.code, done.out) == (1, "")
    assert "no gateway answers at http://127.0.0.1:1: run `plugway serve`" in done.err
    done = plugway("status", "--json", "--config", str(path))
    assert done.code == 1
    assert json.loads(done.out) == {"running": False, "address": "http://127.0.0.1:1"}


def test_what_listens_at_the_address_and_hangs_up_is_told(plugway: Any, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        url = f"http://127.0.0.1:{other.getsockname()[1]}"
        path = written(tmp_path / "c.yaml", f"server: {{port: {url[17:]}}}\nplugins: []")
        hanging_up = threading.Thread(target=lambda: other.accept()[0].close())
        hanging_up.start()
        done = plugway("status", "--config", str(path))
        hanging_up.join()
    assert (done.code, f"the server at {url} disconnected" in done.err) == (1, True), done.err


def test_a_refusal_of_the_gateway_is_told_in_its_words(plugway: Any, gateway: str) -> None:
    Scripted.status = 401
    Scripted.answers = {"/health": {"type": "error", "error": {"message": "wrong token"}}}
    done = plugway("status")
    assert done.code == 1
    assert "returned an error: wrong token" in done.err


def test_explain_posts_the_request_and_shows_the_answer(
    plugway: Any, gateway: str, tmp_path: Path
) -> None:
    Scripted.answers = {
        "/v1/messages/explain": {
            "route": {"backend": "echo", "reason": "pattern *"},
            "input_tokens": 12,
            "changes": [{"plugin": "router", "field": "model", "because": "alias"}],
        }
    }
    request = written(tmp_path / "r.json", '{"model": "a", "messages": []}')
    done = plugway("explain", str(request), "--model", "b")
    assert done.code == 0
    assert "pattern *" in done.out
    assert "because" in done.out
    path, _, body = Scripted.seen[0]
    assert path == "/v1/messages/explain"
    assert json.loads(body) == {"model": "b", "messages": []}
    Scripted.answers = {"/v1/other/explain": {"input_tokens": 3}}
    assert plugway("explain", str(request), "--path", "/v1/other").code == 0


def test_explain_shows_a_request_whole_however_narrow_the_terminal_is(
    plugway: Any, gateway: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    request = {"system": "be brief " * 30 + "and end", "messages": [{"content": "x" * 200}]}
    Scripted.answers = {"/v1/messages/explain": {"model": "m", "request": request}}
    done = plugway("explain", "--model", "m")
    shown = done.out[done.out.index("{") :]
    assert json.loads(shown) == request


def test_explain_reads_standard_input_and_can_make_up_a_request(
    plugway: Any, gateway: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Scripted.answers = {"/v1/messages/explain": {"input_tokens": 3}}
    reader, writer = os.pipe()
    os.write(writer, b'{"model": "piped"}')
    os.close(writer)
    with open(reader, encoding="utf-8") as piped:
        monkeypatch.setattr(sys, "stdin", piped)
        done = plugway("explain", "-", "--json")
    assert json.loads(done.out) == {"input_tokens": 3}
    assert json.loads(Scripted.seen[0][2]) == {"model": "piped"}
    with open(os.devnull, encoding="utf-8") as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        assert plugway("explain", "--model", "m").code == 0
        assert json.loads(Scripted.seen[1][2])["messages"][0]["role"] == "user"
        assert plugway("explain").code == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [("{", "is not JSON"), ("[]", "is not a JSON object"), (None, "cannot read")],
)
def test_explain_refuses_what_is_no_request(
    plugway: Any, tmp_path: Path, content: str | None, words: str
) -> None:
    path = tmp_path / "r.json"
    if content is not None:
        path.write_text(content)
    done = plugway("explain", str(path))
    assert done.code == 1
    assert words in done.err
