"""What a client asks beside a conversation does not go farther than the conversation."""

from __future__ import annotations

from contextlib import asynccontextmanager

import anyio
import pytest

from plugway import Attempt, hookimpl
from plugway.testing import PlainBackend, build_plugin, gateway, request_body
from plugway_echo import Echo
from plugway_router import Router, _sessions

pytestmark = pytest.mark.anyio

TOOLS = [{"name": "Bash", "input_schema": {"type": "object"}}]
SEARCH = [{"type": "web_search_20250305", "name": "web_search"}]
SESSION = {"x-claude-code-session-id": "s1"}
LOCAL, CLOUD = "anthropic/home/m", "claude-sonnet-5"


class Elsewhere(Echo):
    """An echo of another vendor."""

    @hookimpl
    def register_backends(self):
        (backend,) = super().register_backends()
        backend.zone = "vendor"
        return [backend]


class Third(Elsewhere):
    """And of a third."""

    @hookimpl
    def register_backends(self):
        (backend,) = super().register_backends()
        backend.zone = "third"
        return [backend]


@asynccontextmanager
async def served(**options):
    plugins = [
        build_plugin(Router, "router", **options),
        build_plugin(Echo, "home", models=["m"]),
        build_plugin(Elsewhere, "cloud", models=["m"]),
        build_plugin(Third, "third", models=["m"]),
    ]
    async with gateway(plugins) as found:
        yield found


async def went(found, model, headers=SESSION, **fields):
    answer = await found.client.post(
        "/v1/messages", json=request_body(model=model, **fields), headers=headers
    )
    assert answer.status_code == 200, answer.text
    return answer.headers["plugway-receipt"].partition("served-by=")[2].partition(";")[0]


@pytest.mark.parametrize("fields", [{}, {"tools": SEARCH}, {"max_tokens": 64}, {"stream": True}])
@pytest.mark.parametrize("pattern", ["*", "claude-*", "*sonnet*", CLOUD])
async def test_what_is_asked_beside_a_local_conversation_stays_on_this_machine(pattern, fields):
    async with served(models={pattern: ["cloud/m"]}) as found:
        assert await went(found, LOCAL, tools=TOOLS) == "home/m"
        assert await went(found, CLOUD, **fields) == "home/m"


async def test_a_subagent_of_a_local_conversation_stays_on_this_machine():
    async with served(models={"*": ["cloud/m"]}) as found:
        await went(found, LOCAL, tools=TOOLS)
        headers = {**SESSION, "x-claude-code-agent-id": "a1"}
        assert await went(found, CLOUD, headers, tools=TOOLS) == "home/m"


async def test_the_user_may_take_the_conversation_itself_anywhere():
    async with served(models={"*": ["cloud/m"]}) as found:
        assert await went(found, LOCAL, tools=TOOLS) == "home/m"
        assert await went(found, CLOUD, tools=TOOLS) == "cloud/m"
        assert await went(found, "claude-haiku-4-5") == "cloud/m"


async def test_consent_lets_it_go():
    models = {"*": {"targets": ["cloud/m"], "allow_zone_change": True}}
    async with served(models=models) as found:
        await went(found, LOCAL, tools=TOOLS)
        assert await went(found, CLOUD) == "cloud/m"


async def test_a_fallback_with_consent_is_a_place_where_the_conversation_may_go():
    models = {"main": {"targets": ["home/m", "cloud/m"], "allow_zone_change": True}}
    async with served(models={**models, "*": ["cloud/m"]}) as found:
        await went(found, "main", tools=TOOLS)
        assert await went(found, CLOUD) == "cloud/m"


async def test_between_two_vendors_naming_the_model_is_consent_and_a_star_is_not():
    async with served(models={"*haiku*": ["third/m"], "*": ["third/m"]}) as found:
        await went(found, "anthropic/cloud/m", tools=TOOLS)
        assert await went(found, "claude-haiku-4-5") == "third/m"
        assert await went(found, CLOUD) == "cloud/m"


async def test_a_request_to_this_machine_is_never_moved():
    async with served(models={"*haiku*": ["home/m"], "*": ["cloud/m"]}) as found:
        await went(found, CLOUD, tools=TOOLS)
        assert await went(found, "claude-haiku-4-5") == "home/m"


async def test_another_session_and_a_client_without_one_go_their_own_way(monkeypatch):
    monkeypatch.setattr(_sessions, "WAIT_SECONDS", 0.01)
    async with served(models={"*": ["cloud/m"]}) as found:
        await went(found, LOCAL, tools=TOOLS)
        assert await went(found, CLOUD, {}) == "cloud/m"
        assert await went(found, CLOUD, {"x-claude-code-session-id": "s2"}) == "cloud/m"


async def test_a_title_that_comes_before_its_conversation_waits_for_it(monkeypatch):
    monkeypatch.setattr(_sessions, "WAIT_SECONDS", 30)
    async with served(models={"*": ["cloud/m"]}) as found:
        places = []

        async def title():
            places.append(await went(found, "claude-haiku-4-5"))

        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                group.start_soon(title)
                while not found.app.snapshot.plugins[0]._sessions[""]._arrivals:
                    await anyio.lowlevel.checkpoint()
                await went(found, LOCAL, tools=TOOLS)
        assert places == ["home/m"]


async def test_the_receipt_says_why_and_what_would_let_it_go():
    async with served(models={"*": ["cloud/m"]}) as found:
        await went(found, LOCAL, tools=TOOLS)
        answer = await found.client.post(
            "/v1/messages/explain", json=request_body(model=CLOUD), headers=SESSION
        )
        assert "`home/m`" in answer.json()["route"]["reason"]
        assert "allow_zone_change: true" in answer.json()["route"]["reason"]


def test_a_thousand_sessions_are_remembered_and_no_more():
    sessions, attempt = _sessions.Sessions(), Attempt(build_plugin(PlainBackend, "local"), "m")
    for number in range(3 * _sessions.MAX_SESSIONS):
        sessions.record(str(number), [attempt])
    assert len(sessions._homes) == _sessions.MAX_SESSIONS
