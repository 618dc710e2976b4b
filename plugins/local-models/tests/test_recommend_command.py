"""`plugway models recommend`: its options, what it prints, and that it asks this machine only."""

from __future__ import annotations

import json
import socket
import threading
import unicodedata
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import typer
from typer.testing import CliRunner

from plugway_local_models import _recommend
from plugway_local_models._here import installed_models
from plugway_local_models._machine import Card, Machine
from plugway_local_models._recommend import recommend_command
from plugway_local_models.measured import MeasuredSpeed
from plugway_local_models.sizing import GIB

app = typer.Typer()
app.command()(recommend_command)
NOWHERE = "http://127.0.0.1:1"
MAC_32 = ("--memory", "32GiB", "--chip", "Apple M4")


@contextmanager
def answering(path, body, status=200):
    """A server on this machine with one document."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            found = self.path == path
            self.send_response(status if found else 404)
            self.send_header("content-length", str(len(body) if found else 0))
            self.end_headers()
            self.wfile.write(body if found else b"")

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """No models anywhere, and no connection to another machine."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    found = partial(installed_models, NOWHERE, NOWHERE)
    monkeypatch.setattr(_recommend, "installed_models", found)
    connect = socket.socket.connect

    def local(self, address):
        assert self.family == socket.AF_UNIX or address[0] in ("127.0.0.1", "::1"), address
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local)


def run(*words):
    return CliRunner().invoke(app, [*words])


def test_the_model_its_sum_and_the_one_command_are_printed():
    done = run(*MAC_32)
    assert done.exit_code == 0
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert "128K needs 3.2 GiB beside 16.5 GiB of weights; 21.3 are free" in lines
    assert lines.count("plugway models pull unsloth/Qwen3.6-35B-A3B-GGUF:UD-IQ4_XS") == 1
    assert "and for the context: options: {context: 131072}" in lines


def test_nothing_useful_says_what_is_missing_and_what_else_there_is():
    done = run("--memory", "8GiB")
    assert done.exit_code == 1
    assert "Nothing that is useful for Claude Code (at least 32K of context) fits" in done.stdout
    assert "The smallest is Qwen3.5 9B, Q4_K_M: 32K needs" in done.stdout
    assert "plugway models pull unsloth/Qwen3.5-4B-GGUF:Q4_K_M" in done.stdout
    assert "plugway keys set anthropic" in done.stdout


def test_a_small_machine_gets_a_model_for_chats():
    done = run("--memory", "8GiB", "--for", "chat")
    assert done.exit_code == 0
    assert "Qwen3.5 4B" in done.stdout


@pytest.mark.parametrize("size", ["48GiB", "48GB", "48g", "48", "49152MiB", "48.0 GiB"])
def test_sizes_are_read_as_people_write_them(size):
    done = run("--memory", size, "--json")
    assert json.loads(done.stdout)["machine"]["memory_bytes"] == 48 * GIB


@pytest.mark.parametrize(
    "words",
    [
        ("--memory", "much"),
        ("--memory", "-3GiB"),
        ("--memory", "9" * 40),
        ("--gpu", "24GiB"),
        ("--chip", "Apple M4"),
        ("--for", "games"),
        ("--context", "1"),
    ],
)
def test_options_that_make_no_sense_are_a_usage_error(words):
    assert run(*words).exit_code == 2


def test_a_chip_may_be_named_without_its_maker():
    done = run("--memory", "64GiB", "--chip", "m4 Max", "--json")
    assert json.loads(done.stdout)["machine"]["metal_bytes"] == 48 * GIB


def test_json_has_what_the_text_says():
    document = json.loads(run(*MAC_32, "--json").stdout)
    best = document["recommended"]
    assert (best["model"], best["quantization"]) == ("qwen3.6-35b-a3b", "UD-IQ4_XS")
    assert best["command"] == best["commands"]["llama-cpp"]
    assert (document["for"], document["smallest"]) == ("claude-code", None)


def test_json_of_a_machine_on_which_nothing_fits_has_no_recommendation():
    done = run("--memory", "8GiB", "--json")
    document = json.loads(done.stdout)
    assert (done.exit_code, document["recommended"], document["fits"]) == (1, None, [])
    assert document["runs"]["model"] == "qwen3.5-4b"


def test_a_model_that_ollama_has_is_marked(monkeypatch):
    models = [{"name": "qwen3.6:35b-a3b"}, {"name": "gpt-oss:120b", "remote_host": "ollama.com"}]
    with answering("/api/tags", json.dumps({"models": models}).encode()) as url:
        monkeypatch.setattr(_recommend, "installed_models", partial(installed_models, url, NOWHERE))
        done = run(*MAC_32)
    assert "here already: qwen3.6:35b-a3b (ollama)" in done.stdout
    assert "pull" not in done.stdout
    assert "gpt-oss:120b" not in done.stdout


def test_a_model_that_lm_studio_has_is_marked(monkeypatch):
    body = json.dumps({"data": [{"id": "qwen/qwen3.6-35b-a3b"}, {"id": "gpt-oss-20b"}]}).encode()
    with answering("/v1/models", body) as url:
        monkeypatch.setattr(_recommend, "installed_models", partial(installed_models, NOWHERE, url))
        done = run(*MAC_32)
    assert "here already: qwen/qwen3.6-35b-a3b (lmstudio)" in done.stdout
    assert "with `lmstudio`" in done.stdout
    assert "here already: gpt-oss-20b (lmstudio)" in done.stdout


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{broken", 200),
        (b"[]", 200),
        (b'{"models": 3, "data": {}}', 200),
        (b'{"models": [3, {}], "data": [null]}', 200),
        (b"no", 500),
        (b"\xff\xfe", 200),
        (b"[" * 100_000, 200),
    ],
)
def test_another_program_at_those_addresses_does_no_harm(monkeypatch, body, status):
    with answering("/api/tags", body, status) as one, answering("/v1/models", body, status) as two:
        monkeypatch.setattr(_recommend, "installed_models", partial(installed_models, one, two))
        done = run(*MAC_32)
    assert done.exit_code == 0
    assert "here already" not in done.stdout


def test_names_of_others_are_printed_without_control_characters(monkeypatch):
    evil = "qwen3.6-35b-a3b\x1b[2J\r\nplugway: all is well\x07"
    body = json.dumps({"models": [{"name": evil}]}).encode()
    card = Card("RTX\x1b]0;x\x07", 24 * GIB, 23 * GIB)
    monkeypatch.setattr(
        _recommend, "read_machine", lambda: Machine(64 * GIB, 60 * GIB, 8, "Chip\x9b", 0, (card,))
    )
    with answering("/api/tags", body) as url:
        monkeypatch.setattr(_recommend, "installed_models", partial(installed_models, url, NOWHERE))
        text, data = run().stdout, run("--json").stdout
    signs = {sign for sign in text if unicodedata.category(sign) == "Cc"}
    assert signs <= {"\n"}
    assert "\x1b" not in data
    assert not any(line.startswith("plugway: all is well") for line in text.splitlines())


def test_this_machine_is_measured_if_none_is_described(monkeypatch):
    monkeypatch.setattr(_recommend, "read_machine", lambda: Machine(16 * GIB, 9 * GIB, 4, "A chip"))
    done = run()
    assert done.stdout.startswith("A chip; 16.0 GiB of memory, 9.0 free; 4 cores; no graphics card")
    assert "a prompt of 20,000 tokens can take minutes" in done.stdout


def test_a_measured_speed_decides_whether_a_model_is_slow(monkeypatch):
    def speeds(rate):
        found = MeasuredSpeed("local/unsloth/Qwen3.6-35B-A3B-GGUF/x", "2026-11-30T08:00", rate, 2.5)
        return lambda memory, cores: [found]

    machine = Machine(96 * GIB, 90 * GIB, 8, cards=())
    monkeypatch.setattr(_recommend, "read_machine", lambda: machine)
    monkeypatch.setattr(_recommend, "measured_speeds", speeds(3.0))
    document = json.loads(run("--json").stdout)
    (row,) = [row for row in document["fits"] if row["measured"]]
    assert (row["slow_here"], row["notes"][0]) == (True, "slow here: 3 tokens a second")
    monkeypatch.setattr(_recommend, "measured_speeds", speeds(12.0))
    (row,) = [row for row in json.loads(run("--json").stdout)["fits"] if row["measured"]]
    assert not row["slow_here"]
    assert "12 tokens a second, first token of a 2K prompt after 2.5 s" in run().stdout


def test_what_was_measured_here_is_not_said_of_a_described_machine(monkeypatch):
    def never(memory, cores):
        raise AssertionError

    monkeypatch.setattr(_recommend, "measured_speeds", never)
    assert run(*MAC_32).exit_code == 0
