"""What is known, what is learnt, and the file between runs and between gateways."""

import logging
import subprocess
import sys
from datetime import timedelta

import pytest
import yaml

from plugway_capabilities import Facts, Ledger, default_path, known_facts
from plugway_capabilities._store import merge, today

TOO_LARGE = '{"error":{"message":"max_tokens is too large: 9. This model supports at most 4096 completion tokens"}}'
UNKNOWN = "Unrecognized request argument supplied: {}"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "made" / "capabilities.yaml"


@pytest.mark.parametrize(
    ("provider", "model", "expected"),
    [
        ("openai", "o3-2025-04-16", {"output_limit_field": "max_completion_tokens", "context_tokens": 200_000}),
        ("OpenAI", "GPT-5.1-codex", {"max_output_tokens": 128_000, "tool_name_limit": 64}),
        ("openai", "gpt-4o", {"max_output_tokens": 16_384, "output_limit_field": "", "stop_limit": 4}),
        ("openai", "gpt-5-chat-latest", {"output_limit_field": "", "rejected_fields": frozenset()}),
        ("openrouter", "openai/o3", {"output_limit_field": "max_completion_tokens"}),
        ("mistral", "devstral", {"tool_id_limit": 9, "tool_id_pattern": "[a-zA-Z0-9]{9}"}),
        ("deepseek", "deepseek-chat", {"reasoning_field": "reasoning_content", "reasoning_back": "required"}),
        ("groq", "x", {"reasoning_back": "rejected"}),
        ("gemini", "gemini-2.5-pro", {"context_tokens": 1_048_576, "max_output_tokens": 65_536}),
        ("my-server", "o3", {"context_tokens": 0}),
    ],
)  # fmt: skip
def test_documented_facts_are_known(provider, model, expected):
    facts = known_facts(provider, model)
    assert {name: getattr(facts, name) for name in expected} == expected


def test_rows_add_up():
    for model in ("o3", "gpt-5", "gpt-5.6-luna", "gpt-6"):
        assert {"stop", "temperature"} <= known_facts("openai", model).rejected_fields
    for model in ("o1", "gpt-4.1", "gpt-5-chat-latest"):
        assert "stop" not in known_facts("openai", model).rejected_fields


def test_the_packaged_table_holds_only_fields_of_facts_and_says_where_they_are_written():
    from plugway_capabilities._facts import NAMES, _table, checked

    for row in _table():
        assert row.keys() - {"provider", "model", "except", "source"} <= NAMES
        assert row["source"].startswith("https://")
        assert checked(row).keys() == row.keys() & NAMES


def test_a_refusal_teaches_once_and_the_next_start_knows_it(path):
    ledger = Ledger(path)
    assert ledger.learn("me", "m", 400, TOO_LARGE) == ("max output tokens: 4096",)
    assert ledger.learn("me", "m", 400, TOO_LARGE) == ()
    assert ledger.learn("me", "m", 400, UNKNOWN.format("store")) == ("rejected fields: store",)
    ledger.flush()
    facts = Ledger(path).about("me", "m")
    assert facts == Facts(max_output_tokens=4096, rejected_fields=frozenset({"store"}))
    assert Ledger(path).about("me", "other") == Facts()
    assert path.read_text().startswith("# Features that model servers have rejected")


def test_what_is_learnt_stands_over_what_is_known(path):
    ledger = Ledger(path)
    ledger.learn("openai", "gpt-4o", 400, TOO_LARGE)
    facts = ledger.about("openai", "gpt-4o")
    assert (facts.max_output_tokens, facts.context_tokens) == (4096, 128_000)


def test_a_larger_limit_is_believed_too(path):
    ledger = Ledger(path)
    for limit in (100, 200):
        ledger.learn("me", "m", 400, f"max_tokens must be less than or equal to {limit}")
        assert ledger.about("me", "m").max_output_tokens == limit


def test_a_window_is_not_kept_because_the_server_may_be_loaded_with_another(path):
    ledger = Ledger(path)
    text = "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens"
    assert ledger.learn("me", "m", 400, text) == ()
    assert ledger.about("me", "m").context_tokens == 0
    ledger.flush()
    assert not path.exists()


def test_values_are_learnt_and_kept(path):
    ledger = Ledger(path)
    text = "'effort' does not support 'x' with this model. Supported values are: 'low' and 'high'."
    assert ledger.learn("me", "m", 400, text) == ("`effort` may be low, high",)
    assert ledger.learn("me", "m", 400, text) == ()
    ledger.flush()
    assert Ledger(path).about("me", "m").allowed_values == {"effort": ("low", "high")}


def test_two_gateways_add_to_one_file(path):
    first, second = Ledger(path), Ledger(path)
    for number in range(5):
        first.learn("a", "m", 400, UNKNOWN.format(f"a{number}"))
        second.learn("b", "m", 400, UNKNOWN.format(f"b{number}"))
    first.flush()
    second.flush()
    third = Ledger(path)
    assert len(third.about("a", "m").rejected_fields) == 5
    assert len(third.about("b", "m").rejected_fields) == 5
    assert [p.name for p in path.parent.iterdir() if not p.name.startswith(".")] == [path.name]


def test_processes_side_by_side_lose_nothing(path):
    code = (
        "import sys, pathlib\n"
        "from plugway_capabilities import Ledger\n"
        "ledger = Ledger(pathlib.Path(sys.argv[1]))\n"
        "for n in range(8):\n"
        "    ledger.learn('p', 'm', 400, f'Unrecognized request argument supplied: {sys.argv[2]}{n}')\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(path), name], stderr=subprocess.PIPE)
        for name in "xyz"
    ]
    assert [(p.communicate()[1], p.returncode) for p in running] == [(b"", 0)] * 3
    assert len(Ledger(path).about("p", "m").rejected_fields) == 24


@pytest.mark.parametrize(
    "raw", [b"a: [", b"- just\n- a list", b"\xff\xfe\x00broken", b"!!python/object:os.system {}"]
)
def test_a_broken_file_is_set_aside_and_reported(path, raw, caplog):
    path.parent.mkdir()
    path.write_bytes(raw)
    with caplog.at_level(logging.WARNING):
        ledger = Ledger(path)
    assert ledger.about("me", "m") == Facts()
    assert not path.exists()
    assert path.with_name("capabilities.yaml.broken").read_bytes() == raw
    assert str(path) in caplog.text
    assert "rename it" in caplog.text
    ledger.learn("me", "m", 400, TOO_LARGE)
    ledger.flush()
    assert Ledger(path).about("me", "m").max_output_tokens == 4096


def test_entries_that_make_no_sense_are_passed_over(path):
    path.parent.mkdir()
    found = {
        "me": {
            "m": {"context_tokens": -5, "tool_id_limit": "nine", "stop_limit": True, "max_output_tokens": 70},
            "n": 5,
            "o": {"rejected_fields": "temperature", "no_such_fact": 1},
        },
        "you": None,
    }  # fmt: skip
    path.write_text(yaml.safe_dump(found))
    ledger = Ledger(path)
    assert ledger.about("me", "m") == Facts(max_output_tokens=70)
    assert ledger.about("me", "n") == ledger.about("me", "o") == Facts()


def test_what_is_old_is_forgotten(path):
    path.parent.mkdir()
    old = {"learned": today() - timedelta(days=31), "context_tokens": 5}
    new = {"learned": today() - timedelta(days=29), "context_tokens": 6}
    path.write_text(yaml.safe_dump({"me": {"old": old, "new": new, "by-hand": {"stop_limit": 1}}}))
    ledger = Ledger(path)
    told = [ledger.about("me", name) for name in ("old", "new", "by-hand")]
    assert told == [Facts(), Facts(context_tokens=6), Facts(stop_limit=1)]


def test_a_folder_that_cannot_be_written_is_reported_and_the_fact_holds(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    ledger = Ledger(tmp_path / "file" / "capabilities.yaml")
    with caplog.at_level(logging.WARNING):
        assert ledger.learn("me", "m", 400, TOO_LARGE)
        ledger.flush()
    assert ledger.about("me", "m").max_output_tokens == 4096
    assert "Make the folder writable" in caplog.text


def test_the_file_is_the_users_own(path):
    ledger = Ledger(path)
    ledger.learn("me", "m", 400, TOO_LARGE)
    ledger.flush()
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_default_is_in_the_users_data_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_path() == tmp_path / "plugway" / "capabilities.yaml"


def test_what_an_interrupted_write_has_left_is_removed_by_the_next_one(tmp_path):
    for name in (".capabilities.yaml-0f1e", ".other.yaml-0f1e"):
        (tmp_path / name).write_text("half")
    merge(tmp_path / "capabilities.yaml", {})
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"capabilities.yaml", ".capabilities.yaml.lock", ".other.yaml-0f1e"}
