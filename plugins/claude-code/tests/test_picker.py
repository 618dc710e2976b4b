"""The client's `/model` has one row for each model, whatever its names stand for."""

import pytest

from plugway_claude_code._models import SLOTS, Choice
from plugway_claude_code._picker import picker
from plugway_probe import ListedModel

CODER = Choice("anthropic/local/coder", "Coder", "local · 64K", 65_536, ("local/coder",))
SMALL = Choice("anthropic/local/small", "Small", "local · 8K", 8_192, ("local/small",))
MODELS = [ListedModel(f"anthropic/local/{name}") for name in ("coder", "small", "large")]


def routed(name):
    """What a rule with two targets makes of one of the client's names."""
    return Choice(name, "local/coder", "then local/large", 0, ("local/coder", "local/large"))


def rows(made):
    """The ids of the rows that the client shows, as was seen with 2.1.332: those that a variable
    names and the list has, then the rest of the list as the gateway's own."""
    named = [
        value
        for name, value in made.env.items()
        if value in made.available and not name.endswith(("_NAME", "_DESCRIPTION"))
    ]
    return [*named, *(model for model in made.available if model not in named)]


@pytest.mark.parametrize(
    "names",
    [
        dict.fromkeys(SLOTS, CODER),
        {**dict.fromkeys(SLOTS, CODER), "haiku": SMALL},
        {slot: routed(f"plugway-{slot}") for slot in SLOTS},
        {**{slot: routed(f"plugway-{slot}") for slot in SLOTS}, "haiku": SMALL, "fable": SMALL},
    ],
    ids=["one model", "a smaller one too", "a rule", "a rule and a model"],
)
@pytest.mark.parametrize("in_use", [None, "opus", "haiku", "anthropic/local/coder", 7])
def test_each_model_has_one_row_and_each_name_a_model(names, in_use):
    made = picker(names, MODELS, in_use)
    shown = rows(made)
    assert len(shown) == len(set(shown))
    assert {"anthropic/local/coder", "anthropic/local/small"} <= set(shown)
    for slot in SLOTS:
        told = made.env[f"ANTHROPIC_DEFAULT_{slot.upper()}_MODEL"]
        assert told.removeprefix("anthropic/") == names[slot].short_id
    if in_use in SLOTS:
        assert made.env[f"ANTHROPIC_DEFAULT_{in_use.upper()}_MODEL"] in made.available


def test_the_main_model_has_the_pickers_own_row_with_its_window():
    made = picker(dict.fromkeys(SLOTS, CODER), MODELS)
    assert made.env["ANTHROPIC_CUSTOM_MODEL_OPTION"] == CODER.id
    assert made.env["ANTHROPIC_CUSTOM_MODEL_OPTION_NAME"] == "Coder"
    assert made.env["ANTHROPIC_CUSTOM_MODEL_OPTION_DESCRIPTION"] == "local · 64K"
    assert not any(name.startswith("ANTHROPIC_DEFAULT_") and "NAME" in name for name in made.env)


def test_a_rule_keeps_the_clients_name_since_only_the_router_knows_it():
    made = picker({slot: routed(f"plugway-{slot}") for slot in SLOTS}, MODELS)
    assert "ANTHROPIC_CUSTOM_MODEL_OPTION" not in made.env
    assert made.env["ANTHROPIC_DEFAULT_SONNET_MODEL_NAME"] == "local/coder"
    assert made.available[0] == "plugway-sonnet"


def test_a_model_that_the_user_chose_is_not_refused():
    made = picker(dict.fromkeys(SLOTS, CODER), MODELS, "claude-sonnet-4-5")
    assert made.available[-1] == "claude-sonnet-4-5"
    gone = picker(dict.fromkeys(SLOTS, CODER), MODELS, "anthropic/local/gone")
    assert "anthropic/local/gone" not in gone.available
