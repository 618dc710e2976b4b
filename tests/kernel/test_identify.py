"""Whose conversation a request is: what its client says, in the usual way or in one of its own."""

import pytest

from plugway import Caller, Exchange, Identity, MessagesRequest, NoOptions, Plugin, hookimpl
from plugway.testing import PlainBackend, build_plugin, gateway

pytestmark = pytest.mark.anyio


def ids(exchange):
    return exchange.session_id, exchange.agent_id, exchange.parent_agent_id


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        ({}, (None, None, None)),
        ({"session-id": "s"}, ("s", None, None)),
        ({"x-acme-session-id": "s", "x-acme-agent-id": "a"}, ("s", "a", None)),
        ({"x-acme-agent-id": "a", "x-acme-parent-agent-id": "p"}, (None, "a", "p")),
        ({"x-acme-session-id": "s", "x-other-agent-id": "a"}, ("s", None, None)),
        ({"x-other-agent-id": "a", "x-acme-session-id": "s"}, ("s", None, None)),
        ({"x-parent-session-id": "p", "x-session-id": "s"}, ("s", None, None)),
        ({"x-parent-session-id": "p"}, (None, None, None)),
        ({"x-session-idle": "s", "user-agent": "u"}, (None, None, None)),
    ],
)
def test_a_header_line_of_the_usual_kind_names_the_conversation(lines, wanted):
    assert ids(Exchange(MessagesRequest(b"{}", tuple(lines.items())))) == wanted


class Knows(Plugin[NoOptions]):
    """Reads a field that only one client has."""

    @hookimpl
    async def identify(self, request, exchange):
        chat = request.get("chat")
        return Identity(chat, f"of-{self.name}") if chat else None


class Fails(Plugin[NoOptions]):
    """Stumbles."""

    @hookimpl
    def identify(self, request, exchange):
        raise KeyError("chat")


class Looks(Plugin[NoOptions]):
    """Keeps what an exchange says in the first hook that may change something."""

    @hookimpl
    def transform_request(self, request, exchange):
        self.seen = ids(exchange)


async def seen(*knowing, session="claimed", **fields):
    looks = build_plugin(Looks, "looks")
    stack = [looks, *knowing, build_plugin(PlainBackend, "plain")]
    async with gateway(stack) as running:
        running.client.headers["x-acme-session-id"] = session
        await running.ask("hello", **fields)
    return looks.seen


async def test_the_first_plugin_that_knows_says_whose_conversation_it_is():
    first, second = build_plugin(Knows, "first"), build_plugin(Knows, "second")
    assert await seen(first, second, chat="c") == ("c", "of-first", None)
    assert await seen(first, second) == ("claimed", None, None)


async def test_a_plugin_that_fails_there_leaves_what_the_client_says():
    fails, knows = build_plugin(Fails, "fails"), build_plugin(Knows, "knows")
    assert await seen(fails) == ("claimed", None, None)
    assert await seen(fails, knows, chat="c") == ("c", "of-knows", None)


def test_what_a_limited_caller_claims_is_its_own():
    caller = Caller("phone", models=("local/*",))
    exchange = Exchange(MessagesRequest(b"{}"), caller=caller)
    exchange.identify(Identity("s", "a"))
    assert ids(exchange) == ("phone/s", "a", None)
    exchange = Exchange(MessagesRequest(b"{}"))
    exchange.identify(Identity("phone/s"))
    assert exchange.session_id == "/phone/s"


async def test_a_plan_without_a_request_of_a_client_is_made_for_its_conversation():
    looks, knows = build_plugin(Looks, "looks"), build_plugin(Knows, "knows")
    async with gateway([looks, knows, build_plugin(PlainBackend, "plain")]) as running:
        await running.app.snapshot.gateway.plan(MessagesRequest(b'{"model":"m","chat":"c"}'))
    assert looks.seen == ("c", "of-knows", None)
