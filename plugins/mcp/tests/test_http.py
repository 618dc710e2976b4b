"""Servers with a URL: another gateway's own MCP server, and servers that misbehave."""

import anyio
import orjson
import pytest

from plugins.mcp.tests.mounted import mounts
from plugins.mcp.tests.shape import running
from plugway.testing import LeakCheck, ScriptedUpstream, respond
from plugway_mcp._connection import ServerFailed

pytestmark = pytest.mark.anyio
MANY = {"allow": ["read", "write", "run"]}


def remote(gate, **options):
    return {"url": f"{gate.url}/mcp", "bearer": gate.token, **MANY, **options}


async def test_tools_of_a_server_with_a_url_are_called(tmp_path):
    async with running() as gate, mounts(tmp_path, far=remote(gate)) as mounted:
        names = {spec.name for spec in await mounted.tools()}
        assert {"far_endpoint_list", "far_usage_report"} <= names
        result = await mounted.run("far_usage_report", {"of": "gateway"})
        assert (result.is_error, result.text) == (False, "No requests served yet.")
        result = await mounted.run("far_endpoint_set", {"wrong": 1})
        assert result.is_error
        assert "the server refused the call: endpoint: Field required; wrong: Extra" in result.text


async def test_a_key_is_a_header_and_in_no_message(tmp_path):
    async with running() as gate:
        key = "not-the-token-of-that-gateway"
        async with mounts(tmp_path, far=remote(gate, bearer=key)) as mounted:
            assert await mounted.tools() == []
            with pytest.raises(ServerFailed) as failure:
                await mounted.pools["far"].connection()
    assert key not in str(failure.value)


def speaking(answer):
    """A server over HTTP whose `tools/call` is answered by `answer`."""

    def reply(request):
        if request.method != "POST":
            return respond(405, {})
        message = orjson.loads(request.body)
        if message.get("method") == "initialize":
            info = {"name": "s", "version": "1"}
            result = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": info}
        elif message.get("method") == "tools/list":
            result = {"tools": [{"name": "t", "inputSchema": {"type": "object"}}]}
        elif message.get("method") == "tools/call":
            return answer(message["id"])
        else:
            return respond(202, {})
        return respond(200, {"jsonrpc": "2.0", "id": message["id"], "result": result})

    return ScriptedUpstream(otherwise=reply)


def text(id_, said):
    result = {"content": [{"type": "text", "text": said}]}
    return respond(200, {"jsonrpc": "2.0", "id": id_, "result": result})


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (lambda id_: text(id_, "fine"), "fine"),
        (lambda id_: text(id_, "x" * 17_000_000), "failed"),
        (lambda _: respond(500, {"error": "broken"}), "failed"),
        (lambda _: respond(200, {"no": "message"}), "failed"),
        (lambda _: respond(302, {}, headers={"location": "http://127.0.0.1:1/"}), "failed"),
        (lambda _: respond(200, b"<html>", headers={"content-type": "text/html"}), "failed"),
    ],
    ids=["fine", "big", "error", "no message", "redirect", "page"],
)
async def test_a_failure_over_http_is_a_result(tmp_path, answer, told):
    async with speaking(answer) as up:
        server = {"url": up.url, "timeout_seconds": 5, **MANY}
        async with mounts(tmp_path, s=server) as mounted:
            result = await mounted.run("s_t", {})
            assert told in result.text, result.text
            assert result.is_error == (told != "fine")
            assert len(result.text) < 2000


async def test_a_server_that_is_not_there_is_reported(tmp_path):
    async with mounts(tmp_path, s={"url": "http://127.0.0.1:1/mcp", **MANY}) as mounted:
        assert await mounted.tools() == []
        with pytest.raises(ServerFailed, match=r"ConnectError|Connection|connect"):
            await mounted.pools["s"].connection()


async def test_calls_over_http_leave_nothing_behind(tmp_path):
    async with running() as gate, mounts(tmp_path, far=remote(gate)) as mounted:

        async def some():
            for _ in range(10):
                assert not (await mounted.run("far_usage_report", {"of": "gateway"})).is_error

        async def five():
            async with anyio.create_task_group() as group:
                for _ in range(5):
                    group.start_soon(some)

        await five()
        async with LeakCheck():  # besides five connections that are kept open
            await five()
