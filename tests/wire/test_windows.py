"""Servers without a counter: what they refuse, cut and count decides, and nobody is ever stuck."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from plugway import Plugin
from plugway.testing import Gateway, ScriptedUpstream, build_plugin, gateway, request_body
from plugway_context_guard import ContextGuard
from plugway_context_guard._windows import Windows
from plugway_error_normalizer import ErrorNormalizer
from plugway_field_policy import FieldPolicy
from tests.slow import quick_first, quick_where
from tests.wire.adapted import PLUGINS
from tests.wire.windowed import (
    KINDS,
    TOOLS,
    Client,
    Windowed,
    limit_only,
    lm_studio,
    no_numbers,
    vllm,
)

pytestmark = pytest.mark.anyio

SERVERS = {
    "vLLM": ("vllm", {"refuse": vllm}),
    "a window only in refusals": ("anthropic-compatible", {"refuse": vllm, "listed": 0}),
    "refusals with the window alone": ("vllm", {"refuse": limit_only, "listed": 0}),
    "refusals without numbers": ("vllm", {"refuse": no_numbers, "listed": 0}),
    "LM Studio": ("lmstudio", {"refuse": lm_studio}),
    "Ollama cuts silently": ("ollama", {}),
    "LM Studio cuts silently": ("lmstudio", {}),
}


WINDOW = 32_768


@asynccontextmanager
async def serving(
    name: str, server: Windowed, clock: Callable[[], float] | None = None
) -> AsyncGenerator[Gateway]:
    """A gateway in front of a server."""
    guard = build_plugin(ContextGuard, "guard")
    if clock is not None:
        guard._windows = Windows({}, 0, clock)
    async with ScriptedUpstream(otherwise=server) as upstream:
        stack: list[Plugin[Any]] = [
            build_plugin(ErrorNormalizer, "errors"),
            guard,
            build_plugin(FieldPolicy, "policy"),
            PLUGINS[name](upstream.url),
        ]
        async with gateway(stack) as running:
            yield running


@pytest.mark.parametrize("thrift", quick_first([1.35, 0.75], 1))
@pytest.mark.parametrize(
    ("server", "kind"),
    quick_where(
        lambda server, kind: (
            server == "vLLM"
            or kind in {"a mix", "images"}
            or (server, kind) == ("LM Studio cuts silently", "Russian")
        ),
        SERVERS,
        KINDS,
    ),
)
async def test_a_long_conversation_is_never_stuck(server, thrift, kind):
    plugin, how = SERVERS[server]
    says = Windowed(WINDOW, thrift, **how)
    async with serving(plugin, says) as running:
        client = Client(running, TOOLS)
        for turn in range(24):
            await client.says(KINDS[kind](turn))
    assert says.cut <= (plugin != "ollama"), "one prompt at most shows that a server cuts"
    assert says.refused <= client.compactions + 2, "no prompt is refused twice"
    if client.compactions:
        assert max(says.served) > 0.6 * WINDOW, "the window is used"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("thrift", [0.75, 1.35])
async def test_the_first_prompt_is_sent_if_it_fits_by_the_servers_count(thrift, kind):
    """As long as it can be: the conversation of a session that is resumed."""
    says = Windowed(WINDOW, thrift, refuse=vllm)
    turns: list[Any] = [{"role": "user", "content": "begin"}]
    for number in range(40):
        yes = {"role": "assistant", "content": "Yes."}
        longer = [*turns, yes, {"role": "user", "content": KINDS[kind](number)}]
        if says.tokens({"messages": longer}) > WINDOW - 2048:
            break
        turns = longer
    async with serving("vllm", says) as running:
        answer = await running.post(request_body(model="m", max_tokens=4000, messages=turns))
    assert answer.status_code == 200, answer.text
    assert says.served[0] > WINDOW * 0.8


# ── another model is loaded ───────────────────────────────────────────────────────────────────


class Clock:
    """Seconds that a test decides."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def long(tokens: int) -> list[Any]:
    """A conversation of about that many tokens."""
    return [{"role": "user", "content": KINDS["prose"](0) * (tokens // 1200)}]


async def test_a_larger_window_that_is_listed_is_used_although_a_rejection_told_a_smaller_one():
    clock, says = Clock(), Windowed(8192, refuse=lm_studio)
    async with serving("lmstudio", says, clock) as running:
        body = request_body(model="m", max_tokens=2000, messages=long(9000))
        refused = await running.post(body)
        says.window = 32_768
        clock.now += 61
        await running.post(request_body(model="m"))  # its list is read again meanwhile
        served = await until(running, body, 200)
    assert refused.status_code == 400
    assert served
    assert says.served[-1] > 8192


@pytest.mark.parametrize("real", [1024, 32_768], ids=["it is true", "it was never true"])
async def test_a_window_that_only_a_rejection_told_is_asked_for_again_after_a_minute(real):
    """A server that listed nothing and told 1,024 tokens: another may be loaded now."""
    clock, says = Clock(), Windowed(1024, refuse=vllm, listed=0)
    body = request_body(model="m", max_tokens=2000, messages=long(9000))
    async with serving("anthropic-compatible", says, clock) as running:
        for _ in range(4):
            assert (await running.post(body)).status_code == 400
        assert says.refused == 1, "for a minute nothing that is too long is sent"
        says.window = real
        clock.now += 61
        answers = [await running.post(body) for _ in range(3)]
    served = real > 1024
    assert [answer.status_code for answer in answers] == [200 if served else 400] * 3
    assert says.refused <= 2
    assert len(says.served) == 3 * served


async def test_a_smaller_window_than_is_listed_is_learned_and_the_conversation_goes_on():
    says = Windowed(32_768, refuse=vllm)
    async with serving("vllm", says) as running:
        client = Client(running)
        for turn in range(6):
            await client.says(KINDS["code"](turn))
        says.window, says.listed = 12_288, 32_768
        for turn in range(6):
            await client.says(KINDS["code"](turn))
    assert client.compactions >= 1
    assert says.refused <= client.compactions + 1


async def test_a_model_with_another_vocabulary_under_the_same_name_is_learned_anew():
    says = Windowed(32_768)
    async with serving("ollama", says) as running:
        for thrift in (0.7, 1.4):
            says.thrift = thrift
            client = Client(running, TOOLS)
            for turn in range(30):
                await client.says(KINDS["a mix"](turn))
    assert says.cut == 0
    assert max(says.served) > 0.7 * WINDOW


# ── what is not sent does not count ───────────────────────────────────────────────────────────


async def test_images_that_the_model_cannot_see_take_no_room():
    says = Windowed(16_384, vision=False)
    async with serving("ollama", says) as running:
        content = KINDS["images"](0) * 20
        answer = await running.post(
            request_body(
                model="m", max_tokens=2000, messages=[{"role": "user", "content": content}]
            )
        )
    assert answer.status_code == 200
    assert says.served[0] < 4000


async def until(running: Gateway, body: dict[str, Any], status: int) -> bool:
    """Whether a request has that status within some tries, while a list is read again."""
    for _ in range(50):
        if (await running.post(body)).status_code == status:
            return True
        await anyio.sleep(0.02)
    return False
