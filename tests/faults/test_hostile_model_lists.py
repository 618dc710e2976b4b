"""A server may list anything as its models: the gateway's list is short, printable and asked once."""

from __future__ import annotations

import json

import orjson
import pytest

from plugway import ModelInfo, NoOptions, Plugin, hookimpl
from plugway.testing import ScriptedUpstream, build_plugin, gateway, respond
from plugway_anthropic import Anthropic
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_gemini import Gemini
from plugway_llama_server import LlamaServer
from plugway_lmstudio import LmStudio
from plugway_ollama import Ollama
from plugway_openai import OpenAI
from plugway_openai_api import OpenAIApi
from plugway_openai_compatible import OpenAICompatible
from plugway_vllm import Vllm
from plugway_wire.names import MAX_MODELS, is_model_name

pytestmark = pytest.mark.anyio

HOSTILE = [
    "",
    " ",
    " padded ",
    "a\nb",
    "a\r\nset-cookie: x",
    "a\tb",
    "\x1b[31mred",
    "nul\0",
    "\u202egnp",
    "zero\u200bwidth",
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "`rm -rf`",
    "back\\slash",
    "x" * 257,
    "y" * 100_000,
    None,
    True,
    7,
    1e308,
    ["m"],
    {"id": "m"},
    [[[]]],
]
SOUND = ["gemini-1", "org/name:4b@v1", "Ünïcode (local) +x"]


def listing(names):
    """The same list with the keys of all servers, so that each parser finds it."""
    entries = [
        {
            "id": name,
            "key": name,
            "name": name,
            "display_name": "<b>\n" + "d" * 1000,
            "displayName": {"x": 1},
            "created_at": "<script>",
            "max_input_tokens": -5,
            "context_length": 10**15,
            "supportedGenerationMethods": ["generateContent"],
        }
        for name in names
    ]
    entries += [None, 7, "text", [], {}, [{"id": "inner"}]]
    return {"data": entries, "models": entries, "has_more": False}


PLUGINS = {
    Anthropic: {"api_key": "k"},
    AnthropicCompatible: {"zone": "vendor"},
    OpenAICompatible: {"zone": "vendor"},
    OpenAI: {"api_key": "k"},
    Gemini: {"api_key": "k"},
    LmStudio: {},
    Ollama: {},
    LlamaServer: {},
    Vllm: {},
}
each_backend = pytest.mark.parametrize("kind", PLUGINS, ids=lambda kind: kind.__name__)


async def listed(kind, answer):
    """The models that clients of both APIs see of one backend, and the requests to it."""
    async with ScriptedUpstream(otherwise=lambda _: answer) as upstream:
        backend = build_plugin(kind, "up", base_url=upstream.url, **PLUGINS[kind])
        async with gateway([build_plugin(OpenAIApi, "openai-api"), backend]) as running:
            ours = await running.client.get("/v1/models?limit=1000")
            line = {"anthropic-version": "2023-06-01"}
            theirs = await running.client.get("/v1/models?limit=1000", headers=line)
            health = await running.client.get("/health")
    assert {ours.status_code, theirs.status_code, health.status_code} == {200}
    return ours.text, theirs.text, upstream


@each_backend
async def test_hostile_names_are_left_out_and_valid_ones_stay(kind):
    body = json.dumps(listing([*HOSTILE, *SOUND, *SOUND])).encode()
    for text in (await listed(kind, respond(200, body)))[:2]:
        ids = [entry["id"] for entry in orjson.loads(text)["data"]]
        names = [name.removeprefix("anthropic/up/").removeprefix("up/") for name in ids]
        assert set(names) <= set(SOUND)
        assert len(names) == len(set(names))
        assert "gemini-1" in names or kind is OpenAI  # which lists what is OpenAI's alone
        for part in ("<script>", "<b>", "\\n", "\\u0000", "1000000000000000"):
            assert part not in text


@each_backend
async def test_a_thousand_of_thirty_thousand_models_are_listed(kind):
    body = json.dumps({"data": many(), "models": many()}).encode()
    for text in (await listed(kind, respond(200, body)))[:2]:
        assert len(orjson.loads(text)["data"]) <= MAX_MODELS


def many():
    how = {"supportedGenerationMethods": ["generateContent"]}
    return [{"id": f"gpt-{n}", "key": f"k{n}", "name": f"n{n}"} | how for n in range(30_000)]


@each_backend
@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"7", b'{"data":{}}', b'{"models":"x"}'])
async def test_an_invalid_list_lists_nothing(kind, body):
    for text in (await listed(kind, respond(200, body)))[:2]:
        assert orjson.loads(text)["data"] == []


@each_backend
async def test_endless_pages_are_followed_to_a_limit(kind):
    page = listing([f"gemini-{n}" for n in range(200)])
    page |= {"has_more": True, "last_id": "x" * 100_000, "nextPageToken": "y" * 100_000}
    *_, upstream = await listed(kind, respond(200, page))
    assert all(len(request.path) < 3000 for request in upstream.requests)


class Paged:
    """A server with a next page on every page."""

    def __init__(self, cursor, entries):
        self.cursor, self.entries, self.count = cursor, entries, 0

    def __call__(self, request):
        names = self.entries(self.count)
        cursor = self.cursor(self.count)
        self.count += 1
        more = {"has_more": True, "last_id": cursor, "nextPageToken": cursor}
        return respond(200, listing(names) | more)


def new_names(number):
    return [f"gemini-{number}-{n}" for n in range(3)]


def same_names(number):
    return ["gemini-1"]


PAGES = {
    "the cursor of the first page": (lambda number: "a", new_names, 2),
    "two pages in turn": (lambda number: "ab"[number % 2], new_names, 3),
    "new cursors, the same models": (lambda number: f"c{number}", same_names, 2),
    "new cursors, no models": (lambda number: f"c{number}", lambda number: [], 1),
    "not a valid model name": (lambda number: "<a>" * 2000, new_names, 1),
    "a number": (lambda number: number, new_names, 1),
    "for ever": (lambda number: f"c{number}", new_names, 20),
}


@pytest.mark.parametrize("pages", PAGES)
@pytest.mark.parametrize("kind", [Anthropic, AnthropicCompatible, Gemini])
async def test_a_circular_chain_of_pages_ends(kind, pages):
    cursor, entries, most = PAGES[pages]
    server = Paged(cursor, entries)
    async with ScriptedUpstream(otherwise=server) as upstream:
        backend = build_plugin(kind, "up", base_url=upstream.url, **PLUGINS[kind])
        async with gateway([backend]):
            (registered,) = backend.register_backends()
            server.count = 0
            asked = len(upstream.requests)
            found = [info.id for info in await registered.models()]
            asked = len(upstream.requests) - asked
    assert asked == most
    assert found == [name for number in range(most) for name in entries(number)][: len(found)]
    assert len(found) == len(set(found))


async def test_a_plugins_list_is_sanitized_too():
    class Lists(Plugin[NoOptions]):
        zone = "local"

        @hookimpl
        def register_backends(self):
            return [self]

        async def send(self, request, attempt):
            raise AssertionError("never asked")

        async def count(self, request, attempt):
            return None

        async def models(self):
            odd = ModelInfo(
                "fine", display_name="a<b>\n\x1b", created_at="now", context_tokens=True
            )
            return [odd, odd, ModelInfo("<i>"), "text", None, ModelInfo(7)]

    async with gateway([Lists(NoOptions(), name="lists")]) as running:
        (entry,) = (await running.client.get("/v1/models")).json()["data"]
    assert entry["id"] == "anthropic/lists/fine"
    assert entry["display_name"] == "ab"
    assert entry["created_at"] == "1970-01-01T00:00:00Z"
    assert "max_input_tokens" not in entry


@pytest.mark.parametrize(
    "name",
    ["qwen3:4b", "accounts/x/models/y", "gpt-5.1", "gguf (Q4_K_M)", "modèle", "a&b", "x" * 256],
)
def test_real_model_names_are_accepted(name):
    assert is_model_name(name)


@each_backend
async def test_a_servers_model_details_are_short_and_printable(kind):
    deep = {"supported": True}
    for _ in range(100):
        deep = {"more": deep}
    stated = {"image_input": {"supported": True}, "effort": {"max": {"supported": False}}}
    hostile = {"<script>": 1, "text": "<b>x</b>", "long": "x" * 10_000, "deep": deep}
    hostile |= {f"key{n}": {f"inner{m}": "word" for m in range(100)} for n in range(1000)}
    hostile |= {"list": ["x"] * 1000, "number": 10**18, "y" * 300: True}
    entry = {"supportedGenerationMethods": ["generateContent"], "capabilities": stated | hostile}
    entry |= {"id": "gpt-1", "key": "gpt-1", "name": "gpt-1"}
    body = json.dumps({"data": [entry], "models": [entry]}).encode()
    for text in (await listed(kind, respond(200, body)))[:2]:
        assert "<" not in text
        assert len(text) < 50_000
        for item in orjson.loads(text)["data"]:
            said = item.get("capabilities", stated)
            assert {name: said[name] for name in stated} == stated
