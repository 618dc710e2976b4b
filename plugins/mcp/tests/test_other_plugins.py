"""Tools of other plugins at `/mcp`."""

import pytest

from plugins.mcp.tests.mounted import faulty
from plugins.mcp.tests.shape import client_of, post, rpc
from plugway import Options, Plugin, hookimpl
from plugway.testing import build_plugin, gateway
from plugway_mcp import Mcp
from plugway_tools import ToolResult, ToolSpec

pytestmark = pytest.mark.anyio


class Holder(Plugin[Options]):
    """Holds tools: one of its own, one that is named like ours, one named like a mounted one."""

    names = ("desk_read", "endpoint_list", "x_echo")

    @hookimpl
    async def finished(self, exchange, outcome):
        """A plugin has to have a hook."""

    async def tools(self):
        schema = {"type": "object", "properties": {}}
        return [ToolSpec(name, "Reads the desk.", schema, "read", False) for name in self.names]

    async def run_tool(self, call):
        assert call.exchange.caller is not None
        image = {"type": "base64", "media_type": "image/png", "data": "eA=="}
        text = f"{call.name} {dict(call.arguments)}"
        return ToolResult(({"type": "text", "text": text}, {"type": "image", "source": image}))


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.mark.parametrize("servers", [{}, {"x": faulty()}], ids=["alone", "with mounted servers"])
async def test_tools_of_other_plugins_are_served_after_ours_and_mounted_ones(servers):
    plugins = [build_plugin(Mcp, "mcp", servers=servers), build_plugin(Holder, "desk")]
    async with gateway(plugins) as gate, client_of(gate) as session:
        tools = list((await session.list_tools()).tools)
        names = [tool.name for tool in tools]
        assert len(names) == len(set(names))
        described = {tool.name: tool.description for tool in tools}
        assert described["desk_read"] == "Reads the desk."
        assert described["endpoint_list"] != "Reads the desk."
        assert described["x_echo"] == ("Does echo." if servers else "Reads the desk.")
        desk = next(tool for tool in tools if tool.name == "desk_read")
        assert desk.annotations.read_only_hint
        result = await session.call_tool("desk_read", {"a": 1})
        assert result.content[0].text == "desk_read {'a': 1}"
        assert result.content[1].mime_type == "image/png"
        echoed = await session.call_tool("x_echo", {"text": "hi"})
        assert echoed.content[0].text == ("hi" if servers else "x_echo {'text': 'hi'}")
        unknown = await post(gate, rpc("tools/call", name="no_such", arguments={}))
        assert "unknown tool" in unknown.text
