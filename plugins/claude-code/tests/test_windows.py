"""What the client is told goes with the size of the window and the id of the model."""

import pytest

from plugway import PlugwayError
from plugway_claude_code._helpers import line
from plugway_claude_code._models import Choice, resolve, takes_window
from plugway_claude_code._picker import picker
from plugway_claude_code._settings import launch_settings, no_proxy
from plugway_claude_code._windows import profile
from plugway_probe import ListedModel


@pytest.mark.parametrize(
    ("window", "name", "output"),
    [
        (0, "unknown", None),
        (1_000_000, "large", None),
        (200_000, "large", None),
        (131_072, "large", None),
        (65_536, "64K", "8192"),
        (32_768, "32K", "4096"),
        (16_384, "tiny", "2048"),
        (4_096, "tiny", "1024"),
    ],
)
def test_each_window_has_its_profile(window, name, output):
    found = profile(window)
    assert found.name == name
    assert found.env.get("CLAUDE_CODE_MAX_OUTPUT_TOKENS") == output


@pytest.mark.parametrize("window", [4_096, 32_768, 65_536, 131_072, 200_000, 1_000_000])
def test_the_window_is_stated_with_a_value_that_the_client_does_not_complain_about(window):
    env = profile(window).env
    assert int(env["CLAUDE_CODE_AUTO_COMPACT_WINDOW"]) >= 100_000
    assert env["CLAUDE_CODE_MAX_CONTEXT_TOKENS"] == str(window)


@pytest.mark.parametrize(
    ("window", "stated"),
    [(32_768, "184096"), (65_536, "188192"), (131_072, "200000"), (1_000_000, "200000")],
)
def test_where_the_gateway_scales_the_client_is_told_a_window_of_which_it_uses_167_000(
    window, stated
):
    env = profile(window, scaled=True).env
    assert env["CLAUDE_CODE_AUTO_COMPACT_WINDOW"] == stated
    assert env["CLAUDE_CODE_MAX_CONTEXT_TOKENS"] == stated


def test_bulky_tools_are_denied_where_the_window_is_small():
    assert not profile(131_072).deny
    assert profile(65_536).deny == ("Workflow",)
    assert len(profile(32_768).deny) == 11


@pytest.mark.parametrize(
    ("model", "heeded"),
    [
        ("anthropic/local/qwen3", True),
        ("plugway-sonnet", True),
        ("claude-local-qwen", False),
        ("anthropic/cloud/claude-sonnet-4-5", False),
    ],
)
def test_the_client_heeds_a_window_only_for_ids_that_it_does_not_know(model, heeded):
    assert takes_window(model) is heeded


def chosen(model_id, window=65_536):
    return dict.fromkeys(
        ("opus", "sonnet", "haiku", "fable"), Choice(model_id, "Name", "words", window)
    )


def settings(model_id="anthropic/local/m", **more):
    options = {"scaled": False, "tool_search": False, "status_line": None, **more}
    names = chosen(model_id)
    return launch_settings("http://127.0.0.1:1", "t", names["sonnet"], picker(names, []), **options)


def test_a_models_own_names_are_left_their_long_window():
    assert "CLAUDE_CODE_DISABLE_1M_CONTEXT" in settings()["env"]
    assert "CLAUDE_CODE_DISABLE_1M_CONTEXT" not in settings("anthropic/c/claude-sonnet-4-5")["env"]


def test_discovery_is_on_and_the_traffic_that_it_needs_is_not_switched_off():
    assert settings()["env"]["CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY"] == "1"
    assert "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC" not in settings()["env"]


def test_a_status_line_is_set_only_where_it_is_ours_to_set():
    assert "statusLine" not in settings()
    assert settings(status_line={"type": "command"})["statusLine"] == {"type": "command"}


def test_a_proxy_does_not_get_what_goes_to_this_machine():
    assert no_proxy({"PATH": "/bin"}) == {}
    kept = no_proxy({"HTTPS_PROXY": "http://proxy:1", "no_proxy": "intra,localhost"})
    assert kept == {"NO_PROXY": "intra,localhost,127.0.0.1,::1"}


MODELS = [
    ListedModel("anthropic/ollama/qwen3:8b", "Qwen 3"),
    ListedModel("anthropic/ollama/qwen3-coder:30b", "Qwen 3 Coder"),
    ListedModel("anthropic/vllm/glm-4.6", "GLM"),
]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("anthropic/vllm/glm-4.6", 2),
        ("vllm/glm-4.6", 2),
        ("qwen3:8b", 0),
        ("coder", 1),
        ("GLM", 2),
    ],
)
def test_a_model_is_found_by_its_id_or_a_part_of_it(wanted, found):
    assert resolve(wanted, MODELS) is MODELS[found]


def test_a_part_that_several_have_is_answered_with_the_choices():
    with pytest.raises(PlugwayError, match=r"ambiguous: use one of .*qwen3:8b, .*qwen3-coder:30b"):
        resolve("qwen", MODELS)
    with pytest.raises(PlugwayError, match="unknown model `llama`"):
        resolve("llama", MODELS)


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        ({}, "plugway"),
        ({"model": {"id": "anthropic/local/m"}}, "local/m · plugway"),
        (
            {
                "model": {"display_name": "M"},
                "context_window": {"context_window_size": 65536, "total_input_tokens": 9644},
            },
            "M · 9.6K of 65K · plugway",
        ),
        ({"model": "odd", "context_window": []}, "plugway"),
    ],
)
def test_the_status_line_says_what_it_knows(status, shown):
    assert line(status, "plugway") == shown
