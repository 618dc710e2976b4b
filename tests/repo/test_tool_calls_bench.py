"""The bench of tool calls runs, and shows what a grammar is good for."""

from __future__ import annotations

import pytest

pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")

from bench import tool_calls

pytestmark = [pytest.mark.real, pytest.mark.anyio]


def test_the_requests_are_the_same_each_time_and_their_examples_are_valid():
    asked = tool_calls.cases(10)
    assert asked == tool_calls.cases(10)
    assert {case.tool.name for case in asked} == {tool.name for tool in tool_calls.TOOLS}
    for case in asked:
        block = {"type": "tool_use", "name": case.tool.name, "input": dict(case.arguments)}
        assert tool_calls.is_valid({"content": [block]}, case.tool)
        assert not tool_calls.is_valid({"content": [{**block, "input": {"x": 1}}]}, case.tool)
        assert not tool_calls.is_valid({"content": []}, case.tool)


@pytest.mark.filterwarnings("ignore:llama_:DeprecationWarning")  # in llguidance's reader
async def test_a_known_tool_is_called_in_the_models_own_format_and_another_by_the_grammar(capfd):
    *rows, whole = await tool_calls.measured(["glm", "kimi"], 1)
    assert [row["family"] for row in rows] == ["glm", "kimi"]
    plain, grammar, repair = (
        [row[mode] for row in rows] for mode in ("plain", "grammar", "repair")
    )
    assert plain == [1, 0], "GLM's reader takes what Hermes writes, Kimi's does not"
    assert grammar == [1, 1]
    assert repair == [1, 1], "`tool-repair` reads every format"
    assert whole["requests"] == 2
    assert "100% (1/1)" in capfd.readouterr().err
