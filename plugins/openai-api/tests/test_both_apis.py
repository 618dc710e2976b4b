"""What both of OpenAI's APIs have is kept between them, and the receipt tells only of real losses.

The upstreams are strict: they refuse fields and values that the vendor does not document.
"""

from contextlib import asynccontextmanager

import pytest
import responses_answers as answers

from plugway import NoOptions, Plugin, hookimpl
from plugway.testing import ScriptedUpstream, build_plugin, gateway, respond, sse
from plugway_anthropic import Anthropic
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_gemini import Gemini
from plugway_llama_cpp import LlamaCpp
from plugway_openai import OpenAI
from plugway_openai_api import OpenAIApi
from plugway_openai_compatible import OpenAICompatible
from plugway_openai_wire.testing import chat_message, chat_stream
from plugway_router import Router

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

PATHS = {"chat": "/v1/chat/completions", "responses": "/v1/responses"}
OTHER = {"chat": "responses", "responses": "chat"}
WORDS = {
    "chat": {"messages": [{"role": "user", "content": "hi"}], "max_completion_tokens": 99},
    "responses": {"input": "hi", "max_output_tokens": 99},
}
SAME = {
    "service_tier": "flex",
    "service_tier of no price": "default",
    "prompt_cache_key": "talk-1",
    "prompt_cache_retention": "24h",
    "safety_identifier": "u-1",
    "user": "who@example.com",
    "store": True,
}
PAIRS = {
    **{name: ({name.partition(" ")[0]: value},) * 2 for name, value in SAME.items()},
    "metadata": ({"metadata": {"job": "nightly"}, "store": True},) * 2,
    "verbosity": ({"verbosity": "low"}, {"text": {"verbosity": "low"}}),
    "the middle verbosity": ({"verbosity": "medium"}, {"text": {"verbosity": "medium"}}),
    **{
        f"effort {effort}": ({"reasoning_effort": effort}, {"reasoning": {"effort": effort}})
        for effort in ("none", "minimal", "low", "xhigh")
    },
}
"""What a client of Chat Completions sends, and what one of Responses sends for the same."""


class Receipts(Plugin[NoOptions]):
    """Keeps what the receipts say was lost."""

    def __init__(self):
        super().__init__(NoOptions(), name="receipts")
        self.lines = []

    @hookimpl
    async def finished(self, exchange, outcome):
        self.lines = [entry.what for entry in exchange.receipt if entry.stage == "decode"]
        self.notes = [entry.what for entry in exchange.receipt if entry.stage == "send"]


def answered(request):
    """An answer in the API that was asked, streamed if it is wanted so."""
    if request.method == "GET":
        return respond(404, {"error": {"message": "no list"}})
    stream = request.json.get("stream")
    if "responses" in request.path:
        answer = answers.response(answers.message("§"))
        if stream:
            return sse([(data["type"], data) for data in answers.stream(answer)])
        return respond(200, answer)
    return sse(chat_stream("§")) if stream else respond(200, chat_message("§"))


@asynccontextmanager
async def between(make, *plugins, otherwise=answered, tokens=(), **options):
    """A gateway before a server; yields it, the server and the receipts."""
    receipts = Receipts()
    async with ScriptedUpstream(otherwise=otherwise) as up:
        route = build_plugin(Router, "router", models={"*": ["up/m"]})
        api = build_plugin(OpenAIApi, "openai-api")
        backend = build_plugin(make, "up", base_url=f"{up.url}/v1", **options)
        async with gateway([api, *plugins, route, receipts, backend], tokens=list(tokens)) as gate:
            yield gate, up, receipts


async def asked(gate, api, fields, *, stream=False):
    body = {"model": "m", **WORDS[api], **fields, **({"stream": True} if stream else {})}
    response = await gate.post(body, PATHS[api])
    assert response.status_code == 200, response.text
    return response


def posted(up):
    """The bodies that reached a server."""
    return [request.json for request in up.requests if request.method == "POST"]


def holds(sent, fields):
    """Whether a body has these fields, and those in them."""
    return all(
        holds(sent.get(name) or {}, value) if isinstance(value, dict) else sent.get(name) == value
        for name, value in fields.items()
    )


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("client", PATHS)
@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
async def test_what_both_apis_have_is_kept_and_no_loss_is_reported(pair, client, stream):
    chat, responses = pair
    fields, wanted = (chat, responses) if client == "chat" else (responses, chat)
    async with between(OpenAI, api=OTHER[client], api_key="k") as (gate, up, receipts):
        answer = await asked(gate, client, fields, stream=stream)
        assert "§" in answer.text
    (sent,) = posted(up)
    assert holds(sent, wanted), sent
    assert receipts.lines == [], receipts.lines
    assert not any(line.startswith("drop") for line in receipts.notes)


@pytest.mark.parametrize("name", ["safety_identifier", "user"])
@pytest.mark.parametrize("client", PATHS)
async def test_a_user_is_sent_as_the_client_wrote_it_and_not_once_more_as_a_hash(client, name):
    async with between(OpenAI, api=OTHER[client], api_key="k") as (gate, up, receipts):
        await asked(gate, client, {name: "u-1"})
    sent = posted(up)[0]
    assert {key: sent[key] for key in ("safety_identifier", "user") if key in sent} == {name: "u-1"}
    assert not any("metadata" in line for line in receipts.notes)


@pytest.mark.parametrize("client", PATHS)
async def test_a_user_or_key_that_is_too_long_for_openai_is_sent_as_a_hash(client):
    async with between(OpenAI, api=OTHER[client], api_key="k") as (gate, up, receipts):
        await asked(gate, client, {"user": "u" * 65, "prompt_cache_key": "k" * 65})
    sent = posted(up)[0]
    assert "user" not in sent
    assert 0 < len(sent["safety_identifier"]) <= 128
    assert 0 < len(sent["prompt_cache_key"]) <= 64
    assert "translate metadata.user_id: as a hash, in `safety_identifier`" in receipts.notes


@pytest.mark.parametrize("client", PATHS)
async def test_labels_go_to_chat_only_with_a_stored_reply(client):
    async with between(OpenAI, api=OTHER[client], api_key="k") as (gate, up, receipts):
        await asked(gate, client, {"metadata": {"job": "nightly"}})
    kept = client == "chat"
    assert ("metadata" in posted(up)[0]) is kept
    assert receipts.lines == ([] if kept else ["drop metadata: labels for OpenAI's dashboard"])


ELSEWHERE = {
    "anthropic": (Anthropic, {"api_key": "k"}, "claude-sonnet-4-6"),
    "anthropic-compatible": (AnthropicCompatible, {"models": ["m"]}, "m"),
    "gemini": (Gemini, {"api_key": "k"}, "gemini-3-pro"),
}
LOST = {
    "service_tier": {"service_tier": "flex"},
    "prompt_cache_key": {"prompt_cache_key": "talk-1"},
    "prompt_cache_retention": {"prompt_cache_retention": "24h"},
    "metadata": {"metadata": {"job": "nightly"}},
    "store": {"store": True},
}


@pytest.mark.parametrize("server", [*ELSEWHERE, "local"])
@pytest.mark.parametrize("client", PATHS)
async def test_a_server_of_another_api_loses_them_and_the_receipt_says_so(client, server):
    one = {"verbosity": "low"} if client == "chat" else {"text": {"verbosity": "low"}}
    fields = {**one, **{name: value for part in LOST.values() for name, value in part.items()}}
    receipts, api = Receipts(), build_plugin(OpenAIApi, "openai-api")
    if server == "local":
        backend, model = build_plugin(LlamaCpp, "up", model="demo", preload=False), "demo"
    async with ScriptedUpstream(otherwise=respond(500, {"error": "enough"})) as up:
        if server != "local":
            make, options, model = ELSEWHERE[server]
            backend = build_plugin(make, "up", base_url=up.url, **options)
        async with gateway([api, receipts, backend]) as gate:
            body = {"model": f"up/{model}", **WORDS[client], **fields}
            explained = await gate.post(body, f"{PATHS[client]}/explain")
    lines = [line["what"] for line in explained.json()["receipt"]]
    verbosity = "verbosity" if client == "chat" else "text.verbosity"
    for name in (*LOST, verbosity):
        assert any(line.startswith(f"drop {name}: ") for line in lines), (name, lines)
    assert not any(name in str(explained.json()["upstream_request"]) for name in ("flex", "talk-1"))


async def test_a_chat_server_that_may_refuse_them_gets_none_from_a_client_of_responses():
    fields = {"prompt_cache_key": "talk-1", "service_tier": "flex", "text": {"verbosity": "low"}}
    async with between(OpenAICompatible) as (gate, up, receipts):
        await asked(gate, "responses", fields)
    assert posted(up)[0].keys() <= {"model", "messages", "max_tokens"}
    lost = [line.partition(":")[0] for line in receipts.lines]
    assert lost == ["drop prompt_cache_key", "drop service_tier", "drop text.verbosity"]


async def test_what_has_no_place_in_the_other_api_is_still_a_loss():
    async with between(OpenAI, api="responses", api_key="k") as (gate, up, receipts):
        await asked(gate, "chat", {"seed": 7, "service_tier": "flex"})
    assert "seed" not in posted(up)[0]
    assert receipts.lines == ["drop seed: the Messages API has none: answers may differ"]


class Changes(Plugin[NoOptions]):
    """Changes fields of the Messages request."""

    def __init__(self, **fields):
        super().__init__(NoOptions(), name="changes")
        self.fields = fields

    @hookimpl
    async def transform_request(self, request, exchange):
        return request.replace(because="a test", **self.fields)


async def test_what_a_plugin_set_is_not_undone():
    changes = Changes(service_tier="standard_only", metadata={"user_id": "another"})
    async with between(OpenAI, changes, api="responses", api_key="k") as (gate, up, _):
        await asked(gate, "chat", {"service_tier": "flex", "user": "u-1"})
    sent = posted(up)[0]
    assert sent["service_tier"] == "default"
    assert "user" not in sent
    assert sent["safety_identifier"] != "u-1"


async def test_a_changed_request_to_the_clients_own_api_keeps_all_its_fields():
    async with between(OpenAICompatible, Changes(temperature=0.5)) as (gate, up, receipts):
        await asked(gate, "chat", {"seed": 7, "logit_bias": {"5": -1}, "verbosity": "low"})
    sent = posted(up)[0]
    assert holds(sent, {"temperature": 0.5, "seed": 7, "logit_bias": {"5": -1}, "verbosity": "low"})
    assert receipts.lines == []


@pytest.mark.parametrize("client", PATHS)
async def test_a_value_that_the_server_refuses_is_left_out_the_second_time(client, tmp_path):
    word = "verbosity" if client == "responses" else "text.verbosity"

    def picky(request):
        body = request.json if request.method == "POST" else {}
        if (body.get("text") or body).get("verbosity") == "low":
            told = "Unsupported value: 'low' is not supported with the 'm' model. Supported values"
            error = {"message": f"{told} are: 'medium'.", "type": "invalid_request_error"}
            return respond(400, {"error": {**error, "param": word, "code": "unsupported_value"}})
        return answered(request)

    fields = {"text": {"verbosity": "low"}} if client == "responses" else {"verbosity": "low"}
    async with between(OpenAI, otherwise=picky, api=OTHER[client], api_key="k") as (gate, up, one):
        await asked(gate, client, fields)
        assert len(posted(up)) == 2
        assert f"drop {word}: the model accepts only medium" in one.notes


async def test_an_attempt_elsewhere_reports_its_own_losses():
    """The first server, which has the field, fails; the second one has no such field."""
    receipts, api = Receipts(), build_plugin(OpenAIApi, "openai-api")
    async with (
        ScriptedUpstream(otherwise=respond(503, {"error": {"message": "down"}})) as first,
        ScriptedUpstream(otherwise=answered) as second,
    ):
        one = build_plugin(OpenAI, "one", base_url=f"{first.url}/v1", api_key="k")
        two = build_plugin(OpenAICompatible, "two", base_url=f"{second.url}/v1")
        changes = Changes(temperature=0.5)
        route = build_plugin(Router, "router", models={"*": ["one/m", "two/m"]})
        async with gateway([api, changes, route, receipts, one, two]) as gate:
            await asked(gate, "responses", {"service_tier": "flex", "truncation": "auto"})
    assert posted(first)[0]["service_tier"] == "flex"
    lost = [line.partition(":")[0] for line in receipts.lines]
    assert lost == ["drop service_tier", "drop truncation"]


TOKEN = "team-token-team-token"


@pytest.mark.parametrize("client", PATHS)
async def test_a_limited_caller_has_a_cache_key_of_its_own_and_chooses_no_price(client):
    team = {"name": "team", "token": TOKEN, "models": ["*"]}
    async with between(OpenAI, api=OTHER[client], api_key="k", tokens=[team]) as (gate, up, _):

        async def ask(**fields):
            body = {"model": "m", **WORDS[client], "prompt_cache_key": "talk-1", **fields}
            lines = {"authorization": f"Bearer {TOKEN}"}
            return await gate.client.post(PATHS[client], json=body, headers=lines)

        refused = await ask(service_tier="priority")
        assert refused.status_code >= 400
        assert "service_tier" in refused.text
        assert posted(up) == []
        assert (await ask(service_tier="default")).status_code == 200
        await asked(gate, client, {"prompt_cache_key": "talk-1"})
    theirs, owners = posted(up)
    assert theirs["service_tier"] == "default"
    assert owners["prompt_cache_key"] == "talk-1"
    assert theirs["prompt_cache_key"] not in ("", "talk-1")
