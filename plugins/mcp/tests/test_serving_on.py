"""Tools of mounted servers at `/mcp`, and for plugins that run tools."""

import re
import subprocess
import sys
from types import MappingProxyType

import anyio
import pytest
from pydantic import ValidationError

from plugins.mcp.tests.mounted import faulty
from plugins.mcp.tests.shape import client_of, post, rpc, running
from plugway import Exchange, MessagesRequest
from plugway.testing import build_plugin, gateway
from plugway_mcp import Mcp
from plugway_mcp._definitions import Store, read_definitions
from plugway_tools import HoldsTools, ToolCall

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def serving(**options):
    mcp = build_plugin(Mcp, "mcp", servers={"x": faulty(**options)})
    return gateway([mcp])


async def text_of(session, name, **arguments):
    result = await session.call_tool(name, arguments)
    assert result.structured_content is None
    return ("! " if result.is_error else "") + result.content[0].text


async def test_tools_of_mounted_servers_appear_beside_ours():
    async with serving() as gate, client_of(gate) as session:
        tools = {tool.name: tool for tool in (await session.list_tools()).tools}
        assert {"endpoint_list", "x_echo"} <= tools.keys()
        echo = tools["x_echo"]
        assert echo.description == "Does echo."
        assert echo.input_schema["properties"] == {"text": {"type": "string"}}
        assert (echo.annotations.read_only_hint, echo.annotations.destructive_hint) == (False, True)
        assert await text_of(session, "x_echo", text="hello") == "hello"
        assert (await text_of(session, "x_crash")).startswith("! `x_crash` failed: the server")
        assert await text_of(session, "x_echo", text="hello again") == "hello again"
        assert (await session.call_tool("x_image", {})).content[0].mime_type == "image/png"


async def test_only_allowed_tools_appear_and_run():
    tools = {"echo": {"effect": "read"}, "pid": {"allowed": True}}
    async with serving(allow=["read"], tools=tools) as gate, client_of(gate) as session:
        names = {tool.name for tool in (await session.list_tools()).tools}
        assert {name for name in names if name.startswith("x_")} == {"x_echo", "x_pid"}
        told = await text_of(session, "x_sleep", text="0")
        assert told == (
            "! `x_sleep` is not allowed: its effect is `run`, which `servers.x.allow` does not list."
        )


async def test_a_limited_token_gets_none(monkeypatch):
    limited = [{"name": "phone", "token": "limited-token-of-a-phone", "models": ["*"]}]
    mcp = build_plugin(Mcp, "mcp", servers={"x": faulty()})
    async with gateway([mcp], tokens=limited) as gate:
        head = {"authorization": "Bearer limited-token-of-a-phone"}
        assert (await post(gate, rpc("tools/list"), **head)).status_code == 403
        call = rpc("tools/call", name="x_echo", arguments={})
        assert (await post(gate, call, **head)).status_code == 403


async def test_a_client_that_leaves_ends_its_call():
    async with serving() as gate:
        mcp = gate.app.snapshot.plugins[0]
        await mcp.tools()
        call = rpc("tools/call", name="x_hang", arguments={})
        with anyio.move_on_after(0.3):
            await post(gate, call)
        with anyio.fail_after(4):
            while mcp.processes:
                await anyio.sleep(0.02)


async def test_other_plugins_find_the_tools_and_run_each_call_once():
    async with serving() as gate:
        ((_, holder),) = [
            (p.name, p) for p in gate.app.snapshot.plugins if isinstance(p, HoldsTools)
        ]
        names = {spec.name: spec for spec in await holder.tools()}
        assert names["x_echo"].effect == "run"
        assert names["x_echo"].outside
        exchange = Exchange(MessagesRequest(b"{}"))
        call = ToolCall("toolu_1", "x_echo", MappingProxyType({"text": "hi"}), exchange)
        assert (await holder.run_tool(call)).text == "hi"
        again = await holder.run_tool(call)
        assert (again.is_error, again.text) == (
            True,
            "This call was run already; its outcome is in the conversation.",
        )
        other = ToolCall("toolu_2", "endpoint_list", {}, exchange)
        assert (await holder.run_tool(other)).is_error


async def test_a_gateway_without_servers_holds_none():
    async with running() as gate:
        assert isinstance(gate.mcp, HoldsTools)
        assert list(await gate.mcp.tools()) == []
        call = ToolCall("toolu_1", "x_echo", {}, Exchange(MessagesRequest(b"{}")))
        assert (await gate.mcp.run_tool(call)).is_error


async def test_servers_cost_nothing_before_somebody_asks_for_tools():
    async with serving() as gate:
        (mcp,) = gate.app.snapshot.plugins
        assert await gate.client.get("/health")
        assert mcp._mounted.mounts is None
        assert mcp.processes == 0


def test_options_of_servers_are_read_without_the_sdk():
    code = (
        "import sys; from plugway_mcp._options import McpOptions; "
        "McpOptions.model_validate({'servers': {'x': {'command': 'x'}}}); "
        "assert 'mcp' not in sys.modules and 'psutil' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def warnings_of(caplog, **options):
    caplog.clear()
    assert build_plugin(Mcp, "mcp", servers={"x": options}).check({}) == ()
    return caplog.text


def test_a_check_warns_of_tools_that_changed_and_of_keys_in_plain_text(caplog):
    seen, _ = read_definitions([{"name": "a"}, {"name": "b"}])
    now, _ = read_definitions([{"name": "a", "description": "Other."}, {"name": "c"}])
    store = Store()
    store.accept("x", seen)
    assert warnings_of(caplog, command="x") == ""
    store.wait("x", now)
    told = "1 new (c), 1 changed (a), 1 gone (b); they are not offered. Run `plugway mcp accept x`"
    assert told in warnings_of(caplog, command="x")
    store.accept("x", now)
    assert warnings_of(caplog, command="x", env={"LANG": "C"}) == ""
    told = warnings_of(caplog, command="x", env={"API_KEY": "sk-in-plain-text"})
    assert "`servers.x.env.API_KEY` seems to be a key in plain text" in told
    assert "sk-in-plain-text" not in told


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "needs either `command` or `url`"),
        ({"command": "x", "url": "http://a/"}, "needs either `command` or `url`"),
        ({"command": "x", "type": "http"}, "type `http` needs `url`"),
        ({"url": "ftp://a"}, "must start with http:// or https://"),
        ({"url": "http://a/", "env": {"A": "b"}}, "belong to `command`"),
        ({"command": "x", "bearer": "b"}, "belong to `url`"),
        ({"command": "x", "args": ["{roots}"]}, "needs `roots`"),
        ({"command": "x", "roots": ["relative"]}, "should be absolute"),
        ({"command": "x", "env": {"A=B": "c"}}, "is not a valid name"),
        ({"command": "x", "env": {"A": "b\nc"}}, "has a line break"),
        ({"command": "x", "preset": "unknown"}, "known: files, git, fetch, memory, time, browser"),
        ({"command": "x", "allow": ["all"]}, "'read', 'write' or 'run'"),
        ({"command": "x", "own_addresses": ["here"]}, "not `host:port`"),
        ({"command": "x\0"}, "pattern"),
    ],
)
def test_a_wrong_option_is_explained(options, told):
    with pytest.raises(ValidationError, match=re.escape(told)):
        build_plugin(Mcp, "mcp", servers={"x": options})


def test_a_name_of_a_server_is_checked():
    with pytest.raises(ValidationError, match="lower-case letters"):
        build_plugin(Mcp, "mcp", servers={"../x": {"command": "x"}})
