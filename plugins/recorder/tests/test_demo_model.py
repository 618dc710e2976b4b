"""A recording on the model that ships with Plugway, replayed on it: real inference."""

import pytest
from recording import recorder, replay, turns_of

from plugway.testing import build_plugin, gateway
from plugway_llama_cpp import LlamaCpp
from plugway_router import Router

pytestmark = [pytest.mark.anyio, pytest.mark.real]


@pytest.mark.slow
@pytest.mark.timeout(1200)
async def test_fifty_turns_on_the_demo_model_at_temperature_0_are_fifty_of_fifty(tmp_path):
    """Real inference, twice; then with a window that the last turns do not fit."""
    tools = [
        {
            "name": "Write",
            "input_schema": {
                "type": "object",
                "properties": {"file_path": {"type": "string"}, "content": {"type": "string"}},
                "required": ["file_path", "content"],
            },
        }
    ]
    options = {"model": "demo", "temperature": 0, "disk_cache_mib": 0, "threads": 1}
    stack = [
        recorder(),
        build_plugin(Router, "router", models={"*": ["local/demo"]}),
        build_plugin(LlamaCpp, "local", **options),
        build_plugin(LlamaCpp, "small", context=1024, **options),
    ]
    headers = {"plugway-session-id": "fifty-turns", "plugway-record": "on"}
    async with gateway(stack) as running:
        for number in range(50):
            said = f"create file{number}.txt with the text hi"
            asked = {"role": "user", "content": said if number % 2 else "what is plugway"}
            body = {
                "model": "anthropic/local/demo",
                "max_tokens": 200,
                "system": "A rule. " * (number * 10),
                "messages": [asked],
                "tools": tools,
                "stream": bool(number % 3),
            }
            answer = await running.client.post("/v1/messages", json=body, headers=headers)
            assert answer.status_code == 200, answer.text
        turns = await turns_of(running, "fifty-turns")
        assert len(turns) == 50
        assert sum(turn["calls"] == ["Write"] for turn in turns) == 25
        words = ("fifty-turns", "--on", "local/demo", "--on", "small/demo", "--yes")
        done, report = await replay(running, tmp_path, *words)
    same, small = report["targets"]
    assert (same["worked"], same["judged"]) == (50, 50)
    window = [
        t["number"] for t in small["turns"] if (t["difference"] or {}).get("kind") == "window"
    ]
    assert window
    assert window == list(range(window[0], 51)), "from there on, none fits"
    assert small["worked"] == window[0] - 1
    assert "50 of 50 turns would have worked on `local/demo`." in done.stdout
    assert f"turn {window[0]} (did not fit the window: " in done.stdout
    assert "it may not fit its window of 1,024 tokens" in done.stderr, "said before it is sent"
