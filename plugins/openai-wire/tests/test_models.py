"""What a list says of a model that matters before the first prompt."""

import pytest

from plugway_capabilities import Facts
from plugway_openai_wire._models import models_of


@pytest.mark.parametrize(
    ("said", "toolless"),
    [
        ({"supported_parameters": ["temperature"]}, True),
        ({"supported_parameters": []}, True),
        ({"supported_parameters": ["tools", "temperature"]}, False),
        ({"capabilities": {"completion_chat": True, "function_calling": False}}, True),
        ({"capabilities": {"completion_chat": True, "function_calling": True}}, False),
        ({"capabilities": {"completion_chat": True}}, False),
        ({}, False),
    ],
)
def test_a_model_that_is_listed_without_tools_has_a_notice(said, toolless):
    (info,) = models_of({"data": [{"id": "m", **said}]}, lambda _: Facts())
    assert ("`m` cannot call tools" in info.notice) is toolless
