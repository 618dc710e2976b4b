"""Endpoints by the names that people give them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugway import ModelInfo
from plugway_endpoints import choices_text, close_to, endpoints_of, match

ZONES = {"ollama": "local", "desk": "local", "cloud": "google", "work": "anthropic"}


def info(id_, **fields):
    return ModelInfo(f"anthropic/{id_}", **fields)


ENDPOINTS = endpoints_of(
    [
        info("ollama/qwen3:8b", state="loaded"),
        info("ollama/qwen3-coder:30b", state="unloaded"),
        info("desk/gemma-3-4b"),
        info("cloud/gemini-2.5-flash", display_name="Gemini 2.5 Flash"),
        info("cloud/gemini-2.5-flash-lite"),
        info("cloud/gemini-2.5-pro"),
        info("work/claude-sonnet-4-5"),
        info("router/fast", display_name="fast (ollama/qwen3:8b)"),
        info("broken"),
    ],
    ZONES,
)


def ids(name):
    return [endpoint.id for endpoint in match(name, ENDPOINTS).found]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("ollama/qwen3:8b", ["ollama/qwen3:8b"]),
        ("anthropic/ollama/qwen3:8b", ["ollama/qwen3:8b"]),
        ("QWEN3:8B", ["ollama/qwen3:8b"]),
        ("`qwen3:8b`", ["ollama/qwen3:8b"]),
        ("fast", ["router/fast"]),
        ("desk", ["desk/gemma-3-4b"]),
        ("ollama", ["ollama/qwen3:8b"]),  # of two, the one that is loaded
        ("work", ["work/claude-sonnet-4-5"]),
        ("gemini flash", ["cloud/gemini-2.5-flash"]),  # not the one that is called `lite` too
        ("Gemini 2.5 Flash", ["cloud/gemini-2.5-flash"]),
        ("gemini pro", ["cloud/gemini-2.5-pro"]),
        ("sonnet", ["work/claude-sonnet-4-5"]),
        ("coder", ["ollama/qwen3-coder:30b"]),
        ("gemini", ["cloud/gemini-2.5-flash", "cloud/gemini-2.5-flash-lite", "cloud/gemini-2.5-pro"]),
        ("local", ["ollama/qwen3:8b", "ollama/qwen3-coder:30b", "desk/gemma-3-4b"]),
        ("qwen3:14b", []),
        ("flashy", []),
        ("gpt", []),
        ("", []),
        (" :/. ", []),
    ],
)  # fmt: skip
def test_a_name_stands_for_what_it_names(name, found):
    assert ids(name) == found


def test_an_instance_may_be_called_local():
    endpoints = endpoints_of([info("local/a"), info("desk/b")], {"local": "local", "desk": "local"})
    assert match("local", endpoints).only.id == "local/a"


def test_cloud_is_what_leaves_this_machine():
    endpoints = endpoints_of([info("far/a"), info("desk/b")], {"far": "google", "desk": "local"})
    assert match("cloud", endpoints).only.id == "far/a"


def test_default_is_what_the_configuration_chooses_unless_something_is_called_so():
    assert match("default", ENDPOINTS).default
    endpoints = endpoints_of([info("llama/default")], {"llama": "local"})
    assert match("default", endpoints).only.id == "llama/default"


def test_close_names_and_long_lists():
    assert [e.id for e in close_to("olama", ENDPOINTS)] == ["ollama/qwen3:8b"]
    many = endpoints_of([info(f"a/m{n}") for n in range(20)], {"a": "local"})
    assert choices_text(many).endswith("`a/m7` and 12 more")


def test_ids_that_nobody_can_type_are_no_endpoints():
    for id_ in ("a/m\n- fake", "a/m\u202e", "a/m\x1b[2J", "a/" + "m" * 400):
        assert endpoints_of([info(id_)], {"a": "local"}) == ()


@given(st.text(max_size=200))
def test_no_name_breaks_it(name):
    assert len(match(name, ENDPOINTS).found) <= len(ENDPOINTS)
    close_to(name, ENDPOINTS)


def test_of_an_instances_models_the_one_that_the_router_names_is_meant():
    models = [info("far/a"), info("far/b", extra={"routed": True}), info("far/c")]
    assert match("far", endpoints_of(models, {"far": "google"})).only.id == "far/b"
