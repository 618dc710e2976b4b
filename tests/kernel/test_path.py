"""How much of the kernel one request goes through."""

import sys
from pathlib import Path

import pytest

import plugway
from plugway.testing import (
    ScriptedUpstream,
    anthropic_message,
    anthropic_stream,
    build_plugin,
    gateway,
    request_body,
    respond,
    sse,
)
from plugway_anthropic_compatible import AnthropicCompatible

KERNEL = str(Path(plugway.__file__).parent)
MOST = 20


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_post_crosses_at_most_twenty_modules_of_the_kernel(stream):
    reply = sse(anthropic_stream("Hi")) if stream else respond(200, anthropic_message("Hi"))
    crossed = set()

    def note(frame, event, _):
        name = frame.f_code.co_filename
        if event == "call" and name.startswith(KERNEL):
            crossed.add(name.removeprefix(KERNEL))

    async with ScriptedUpstream(otherwise=lambda _: reply) as server:
        backend = build_plugin(AnthropicCompatible, "upstream", base_url=server.url)
        async with gateway([backend]) as running:
            for profiler in (None, note):  # the first request opens the connections
                sys.setprofile(profiler)
                try:
                    body = request_body(stream=stream)
                    answer = await running.client.post("/v1/messages", json=body)
                finally:
                    sys.setprofile(None)
                assert answer.status_code == 200, answer.text
    assert "/exchange/run.py" in crossed
    assert len(crossed) <= MOST, sorted(crossed)
