"""What the plugin does, and the contract that every plugin has to meet."""

import pytest

from plugway.testing import PlainBackend, PluginContract, build_plugin, gateway
from plugway_template import Template
from plugway_template._plugin import with_sentence

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


class TestContract(PluginContract):
    plugin = Template
    options = {"text": "Be brief."}  # noqa: RUF012


async def test_the_sentence_arrives_at_the_end_of_the_system_prompt():
    backend = build_plugin(PlainBackend, "plain")
    async with gateway([build_plugin(Template, "template", text="Be brief."), backend]) as running:
        await running.ask("hello", system="You are helpful.")
    assert [block["text"] for block in backend.seen[0].body["system"]] == [
        "You are helpful.",
        "Be brief.",
    ]


def test_a_request_without_a_system_prompt_gets_one():
    assert with_sentence(None, "x") == [{"type": "text", "text": "x"}]
