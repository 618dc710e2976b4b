"""Two real llama-servers behind a pool, and behind sglang-router with a pool in front of it."""

from contextlib import AsyncExitStack

import pytest
from chat_servers import environment, server

from plugway.testing import build_plugin, gateway, request_body
from plugway_demo_model import model_path
from plugway_pool import Pool
from tests.e2e.test_llama_server import free_port, started

pytestmark = [pytest.mark.anyio, pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(300)]
SERVER = ("-m", str(model_path()), "-c", "32768", "-np", "8", "--metrics")
STORY = " ".join(f"Point {n}: a gateway has plugins, and a plugin has options." for n in range(40))


class Conversation:
    """One conversation over its turns."""

    def __init__(self, session):
        self.session = session
        self.messages = []
        self.prompt = 0
        """Tokens of the last prompt."""

    async def turn(self, running, text):
        """Tokens of the prompt that were cached, and all tokens of the previous prompt."""
        self.messages.append({"role": "user", "content": f"{self.session}, {text}"})
        body = request_body(model="anthropic/fleet/m", max_tokens=12, messages=self.messages)
        lines = {"x-test-session-id": self.session}
        response = await running.client.post("/v1/messages", json=body, headers=lines)
        assert response.status_code == 200, response.text
        message, before = response.json(), self.prompt
        usage = message["usage"]
        cached = usage.get("cache_read_input_tokens") or 0
        self.prompt = usage["input_tokens"] + cached
        self.messages.append({"role": "assistant", "content": message["content"]})
        return cached, before


async def test_conversations_keep_their_cache_and_survive_a_server():
    async with AsyncExitStack() as stack:
        mortal = await stack.enter_async_context(AsyncExitStack())
        urls = [
            await mortal.enter_async_context(started(*SERVER)),
            await stack.enter_async_context(started(*SERVER)),
        ]
        pool = build_plugin(
            Pool, "fleet", kind="llama-server", servers=urls, load_seconds=0.1, check_seconds=0.2
        )
        running = await stack.enter_async_context(gateway([pool]))
        places, conversations = pool.backend.members.places, list[Conversation]()
        while len(conversations) < 4 or len({*places.values()}) < 2:
            conversations.append(Conversation(f"conversation {len(conversations)}"))
            await conversations[-1].turn(running, STORY)
        for _ in range(3):
            for one in conversations:
                cached, before = await one.turn(running, "go on")
                assert cached >= 0.9 * before
        assert {member.comfortable for member in pool.backend.members.active} == {8}
        await mortal.aclose()
        for one in conversations:
            await one.turn(running, "go on")
        for one in conversations:
            cached, before = await one.turn(running, "go on")
            assert cached >= 0.9 * before
        assert {*places.values()} == {urls[1]}


async def test_a_router_keeps_conversations_by_the_header_that_it_gets(tmp_path):
    python = environment("sglang-router-0.3.2", "sglang-router==0.3.2")
    async with started(*SERVER) as one, started(*SERVER) as two:
        port, metrics = free_port(), free_port()
        command = [python, "-m", "sglang_router.launch_router", "--host", "127.0.0.1"]
        command += ["--port", port, "--prometheus-port", metrics, "--policy", "manual"]
        command += ["--worker-urls", one, two]
        async with server(command, tmp_path, port, "/v1/models") as url:
            pool = build_plugin(
                Pool, "fleet", kind="chat", servers=[url], session_header="x-smg-routing-key"
            )
            async with gateway([pool]) as running:
                conversations = [Conversation(f"conversation {n}") for n in range(4)]
                for each in conversations:
                    await each.turn(running, STORY)
                for _ in range(3):
                    for each in conversations:
                        cached, before = await each.turn(running, "go on")
                        assert cached >= 0.9 * before
