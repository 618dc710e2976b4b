"""Reasoning that the client gave a budget."""

import pytest
import tiny_gguf

pytestmark = pytest.mark.anyio

OPENED = tiny_gguf.CHAT_TEMPLATE.replace(
    "assistant\\n' }}{%- endif %}", "assistant\\n<think>\\n' }}{%- endif %}"
)


@pytest.fixture
def thinker(engine, models, tmp_path):
    template = tmp_path / "thinks.jinja"
    template.write_text(OPENED)
    return lambda: engine(models["full"], template=str(template))


def enabled(budget):
    return {"type": "enabled", "budget_tokens": budget}


@pytest.mark.parametrize("temperature", [0, 1])
async def test_reasoning_ends_where_the_budget_does(thinker, temperature):
    async with thinker() as e:
        fields = {"max_tokens": 60, "temperature": temperature}
        endless = await e.say("why?", **fields)
        short = await e.say("why?", thinking=enabled(20), **fields)
        shorter = await e.say("why?", thinking=enabled(5), **fields)
    assert [block["type"] for block in endless["content"]] == ["thinking"]
    assert [block["type"] for block in short["content"]] == ["thinking", "text"]
    thought, less = (m["content"][0]["thinking"] for m in (short, shorter))
    assert len(thought) > len(less) > 0
    if temperature == 0:
        assert endless["content"][0]["thinking"].startswith(thought)


async def test_the_client_may_set_variables_of_the_template(engine, models, tmp_path):
    template = tmp_path / "greets.jinja"
    template.write_text("{{ greeting | default('') }}" + tiny_gguf.CHAT_TEMPLATE)
    async with engine(models["full"], template=str(template)) as e:
        plain = await e.count("hi")
        greeted = {"greeting": "#" * 20, "messages": [], "add_generation_prompt": False}
        assert await e.count("hi", chat_template_kwargs=greeted) == plain + 20


@pytest.mark.parametrize(
    ("kind", "more"), [("adaptive", 20), ("enabled", 20), ("disabled", 0), (None, 0)]
)
async def test_the_template_is_told_whether_to_think(engine, models, tmp_path, kind, more):
    template = tmp_path / "thinks.jinja"
    template.write_text("{{ '#' * 20 if enable_thinking else '' }}" + tiny_gguf.CHAT_TEMPLATE)
    async with engine(models["full"], template=str(template)) as e:
        plain = await e.count("hi")
        asked = {"thinking": {"type": kind}} if kind else {}
        assert await e.count("hi", **asked) == plain + more
