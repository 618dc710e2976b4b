"""Bytes that an upstream sent before it broke off reach the client, however late it reads them."""

import anyio
import pytest

from plugway import StreamInterrupted, Upstream
from plugway.testing import Cut, Reset, ScriptedUpstream, sse

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("end", [Cut(), Reset()])
async def test_a_slow_reader_gets_all_bytes_before_the_failure(end):
    events = [("x", {"n": n}) for n in range(20)]
    async with ScriptedUpstream(sse(events, end=end)) as server, Upstream(server.url) as upstream:
        response = await upstream.request("POST", "/", body=b"{}")
        await anyio.sleep(0.1)  # everything has arrived, and the break too
        got = b""
        with pytest.raises(StreamInterrupted):
            async for chunk in response.chunks():
                got += chunk
        await response.aclose()
    assert got.count(b"event: x") == 20 or isinstance(end, Reset)  # a reset may discard them
