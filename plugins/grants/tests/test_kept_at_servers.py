"""What the owner keeps at a server is not for a limited caller, by whatever name it is asked for."""

from contextlib import asynccontextmanager

import httpx2
import orjson
import pytest

from plugway.testing import ScriptedUpstream, build_plugin, gateway, respond
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_gemini import Gemini
from plugway_gemini_api import GeminiApi
from plugway_grants._addresses import is_public
from plugway_openai import OpenAI
from plugway_openai_api import OpenAIApi
from plugway_openai_compatible import OpenAICompatible

pytestmark = pytest.mark.anyio
LIMITED = [{"name": "phone", "token": "phone-token", "models": ["up/m"]}]
OWN = {
    "messages": (AnthropicCompatible, {"models": ["m"]}),
    "chat": (OpenAICompatible, {"learn": False}),
    "responses": (OpenAI, {"api_key": "k"}),
    "gemini": (Gemini, {"api_key": "k"}),
}
"""Backends that get the client's own body, where there is one for its API."""
PATHS = {
    "messages": "/v1/messages",
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "gemini": "/v1beta/models/up/m:generateContent",
}


def body_of(api, said):
    if api == "gemini":
        return {"contents": [{"role": "user", "parts": [{"text": "x"}]}], **said}
    if api == "responses":
        return {"model": "up/m", "input": "x", **said}
    return {
        "model": "up/m",
        "messages": [{"role": "user", "content": "x"}],
        "max_tokens": 9,
        **said,
    }


@asynccontextmanager
async def served(upstream, kind, options):
    backend = build_plugin(kind, "up", **{"base_url": upstream.url, **options})
    apis = [build_plugin(OpenAIApi, "openai-api"), build_plugin(GeminiApi, "gemini-api")]
    async with gateway([*apis, backend], tokens=LIMITED) as found:
        yield found


async def asked(found, path, body, token="phone-token"):
    headers = {"content-type": "application/json", "authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(base_url=found.url, trust_env=False, verify=False) as client:
        return await client.post(path, content=orjson.dumps(body), headers=headers)


def posted(upstream):
    return [request for request in upstream.requests if request.method == "POST"]


async def refused(api, said, kind, options, path=""):
    async with ScriptedUpstream() as upstream, served(upstream, kind, options) as found:
        answer = await asked(found, path or PATHS[api], said)
        assert answer.status_code == 403, answer.text
        assert "may only use certain models" in answer.json()["error"]["message"]
        assert not posted(upstream)


KEPT = "https://generativelanguage.googleapis.com/v1beta/files/kept"
SAYING = {
    "messages": [
        lambda url: {"type": "document", "source": {"type": "url", "url": url}},
        lambda url: {"type": "image", "source": {"type": "url", "url": url}},
        lambda url: {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "image", "source": {"type": "url", "url": url}}]},
        lambda url: {"type": "image", "source": {"type": "s3", "s3Location": {"uri": url}}},
    ],
    "chat": [
        lambda url: {"type": "image_url", "image_url": {"url": url}},
        lambda url: {"type": "image_url", "image_url": url},
        lambda url: {"type": "video_url", "video_url": {"url": url}},
        lambda url: {"type": "file", "file": {"file_uri": url}},
        lambda url: {"type": "file", "file": {"filename": "x", "file_data": url}},
        lambda url: {"type": "file", "file": {"urls": [url]}},
        lambda url: {"type": "image", "image": url},
        lambda url: {"type": "image", "source": url},
        lambda url: {"fileData": {"fileUri": url}},
        lambda url: {"type": "input_audio", "input_audio": {"data": url}},
    ],
    "responses": [
        lambda url: {"type": "input_file", "file_url": url},
        lambda url: {"type": "input_file", "file_data": url},
        lambda url: {"type": "input_image", "image_url": url},
    ],
    "gemini": [
        lambda url: {"fileData": {"mimeType": "image/png", "fileUri": url}},
        lambda url: {"file_data": {"mime_type": "image/png", "file_uri": url}},
        lambda url: {"functionResponse": {"name": "f", "response": {}, "parts": [{"fileData": {"mimeType": "image/png", "fileUri": url}}]}},
    ],
}  # fmt: skip
"""How each API says an address."""


def with_part(api, part):
    turn = {"role": "user", "parts" if api == "gemini" else "content": [part]}
    field = {"gemini": "contents", "responses": "input"}.get(api, "messages")
    return body_of(api, {field: [turn]})


@pytest.mark.parametrize("url", [KEPT, "gs://bucket/kept"])
@pytest.mark.parametrize(("api", "part"), [(a, part) for a in SAYING for part in SAYING[a]])
async def test_an_address_of_what_is_kept_is_refused_however_it_is_said(api, part, url):
    await refused(api, with_part(api, part(url)), Gemini, {"api_key": "k"})


@pytest.mark.parametrize("api", SAYING)
async def test_the_owner_may_say_it_and_a_limited_caller_what_anybody_may_fetch(api):
    public = with_part(api, SAYING[api][0]("https://example.com/files/cat.png"))
    async with (
        ScriptedUpstream(otherwise=respond(500)) as upstream,
        served(upstream, Gemini, {"api_key": "k"}) as found,
    ):
        mine = await asked(found, PATHS[api], with_part(api, SAYING[api][0](KEPT)), found.token)
        sent = len(posted(upstream))
        its = await asked(found, PATHS[api], public)
        assert 403 not in (mine.status_code, its.status_code)
        assert 0 < sent < len(posted(upstream))


@pytest.mark.parametrize("field", ["systemInstruction", "system_instruction"])
async def test_it_is_refused_in_a_system_prompt_and_where_tokens_are_counted(field):
    part = {"fileData": {"mimeType": "image/png", "fileUri": "http://10.0.0.1/x.png"}}
    system = body_of("gemini", {field: {"parts": [part]}})
    await refused("gemini", system, Gemini, {"api_key": "k"})
    counted = {"generateContentRequest": with_part("gemini", part)}
    path = "/v1beta/models/up/m:countTokens"
    await refused("gemini", counted, Gemini, {"api_key": "k"}, path)


async def test_an_address_at_a_server_of_the_configuration_is_refused():
    options = {"base_url": "https://models.example.com:8443/v1", "api_key": "k"}
    said = with_part("chat", SAYING["chat"][0]("https://MODELS.example.com./kept/1"))
    await refused("chat", said, OpenAICompatible, options)


@pytest.mark.parametrize(
    ("url", "public"),
    [
        ("https://example.com/cat.png", True),
        ("http://example.com:8080/sites/default/files/cat.png?v=1", True),
        ("https://93.184.216.34/cat.png", True),
        ("data:image/png;base64,aGk=", True),
        ("DATA:image/png;base64,aGk=", True),
        ("https://okapi.example.com/cat.png", True),
        (KEPT, False),
        (KEPT.upper(), False),
        (KEPT.replace("com/", "com./"), False),
        (KEPT.replace("https://", "https://x@"), False),
        (KEPT.replace("https://", "https:\\\\"), False),
        (f" {KEPT}", False),
        (KEPT.replace("google", "goo\tgle"), False),
        (KEPT.replace("apis", "%61pis"), False),
        (KEPT.replace("apis", "\uff41pis"), False),
        (KEPT.removeprefix("https://"), False),
        ("files/kept", False),
        ("https://api.example.com/cat.png", False),
        ("https://eu.api.example.com/cat.png", False),
        ("https://example.com/v1/files/kept/content", False),
        ("https://example.com/v1beta/%66iles/kept", False),
        ("https://x.example.com/openai/files/kept/content", False),
        ("gs://bucket/x", False),
        ("GS://bucket/x", False),
        ("s3://bucket/x", False),
        ("file:///etc/passwd", False),
        ("http://127.0.0.1:9/x", False),
        ("http://2130706433/x", False),
        ("http://0x7f.1/x", False),
        ("http://[::1]/x", False),
        ("http://[::ffff:10.0.0.1]/x", False),
        ("http://192.168.1.2/x", False),
        ("http://169.254.169.254/latest", False),
        ("http://localhost/x", False),
        ("http://nas.local/x", False),
        ("http://nas/x", False),
        ("http://[x/y", False),
        ("http:///x", False),
    ],
)
def test_which_addresses_are_everybodys(url, public):
    assert is_public(url) is public


FUNCTION = {"name": "f", "parameters": {"type": "object"}}
STORE = {"fileSearchStoreNames": ["fileSearchStores/kept"]}
TOOLS = [
    *(
        (api, [tool])
        for api in ("messages", "chat", "responses")
        for tool in (
            {"fileSearch": STORE},
            {"file_search": STORE},
            {"retrieval": {"vertexAiSearch": {"datastore": "kept"}}},
            {"googleSearch": {}},
            {"type": None, "google_search": {}},
            {"name": "f", "input_schema": {"type": "object"}, "googleSearch": {}},
            {"type": "web_search", "fileSearch": STORE},
            {"type": "web_search", "retrieval": {}},
            {"functionDeclarations": [{**FUNCTION, "fileSearch": STORE}]},
        )
    ),
    ("chat", [{"type": "function", "function": FUNCTION, "google_search": {}}]),
    ("chat", [{"type": "function", "function": {**FUNCTION, "retrieval": {}}}]),
    ("chat", [{"type": "custom", "custom": {"name": "f"}, "codeExecution": {}}]),
    ("responses", [{"type": "function", **FUNCTION, "urlContext": {}}]),
    ("responses", [{"type": "namespace", "name": "n", "tools": [{"fileSearch": STORE}]}]),
    ("gemini", [{"functionDeclarations": [FUNCTION], "fileSearch": STORE}]),
    ("gemini", [{"file_search": STORE}]),
    ("gemini", [{"retrieval": {"vertexRagStore": {}}}]),
    ("gemini", [{"mcpServers": [{}]}]),
    ("gemini", [{"googleSearch": {"datastore": "kept"}}]),
]


@pytest.mark.parametrize(("api", "tools"), TOOLS)
async def test_a_tool_that_could_read_what_is_kept_is_refused(api, tools):
    await refused(api, body_of(api, {"tools": tools}), *OWN[api])


USER = {"role": "user", "content": "x"}


@pytest.mark.parametrize(
    "item",
    [
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "x"}]},
        {"type": "reasoning", "id": "rs_1", "encrypted_content": None, "content": []},
        {"type": "compaction", "id": "cmp_1"},
        {"type": "function_call", "id": "fc_1"},
        {"type": "function_call", "id": "fc_1", "call_id": "c", "status": "completed"},
        {"type": "message", "id": "msg_1", "role": "assistant", "content": []},
        {"role": "assistant", "id": "msg_1"},
        {"type": "image_generation_call", "id": "ig_1", "status": "completed"},
        {"type": "file_search_call", "id": "fs_1", "queries": ["x"]},
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        {"type": "mcp_approval_response", "approval_request_id": "x", "approve": True},
        {"type": "tool_search_output", "tools": [{"type": "mcp", "server_label": "x"}]},
        {"type": "additional_tools", "tools": [{"fileSearch": STORE}]},
    ],
)
async def test_an_item_that_leaves_to_the_server_what_it_says_is_refused(item):
    said = {"model": "up/m", "input": [USER, item]}
    await refused("responses", said, *OWN["responses"])


FOUND = "https://api.example.com/docs"
GOES_ON = [
    ("messages", {"tools": [{"name": "f", "input_schema": {}, "strict": True, "defer_loading": True, "cache_control": {"type": "ephemeral"}}]}),
    ("messages", {"tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 2}]}),
    ("messages", {"messages": [USER, {"role": "assistant", "content": [
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"type": "web_search_result", "url": FOUND, "title": "x", "encrypted_content": "e"}]},
        {"type": "text", "text": FOUND, "citations": [{"type": "web_search_result_location", "url": FOUND, "cited_text": "x"}]},
    ]}, USER]}),
    ("chat", {"messages": [USER, {"role": "assistant", "content": FOUND, "annotations": [{"type": "url_citation", "url_citation": {"url": FOUND}}]}, USER]}),
    ("chat", {"messages": [{"role": "user", "content": [{"type": "text", "text": "gs://bucket/x is where it lies"}]}]}),
    ("chat", {"tools": [{"type": "function", "function": {**FUNCTION, "strict": True}}]}),
    ("chat", {"functions": [FUNCTION]}),
    ("responses", {"input": [USER, {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "e"}, {"type": "message", "id": "msg_1", "role": "assistant", "content": [{"type": "output_text", "text": "y", "annotations": [{"type": "url_citation", "url": FOUND}]}]}]}),
    ("responses", {"input": [USER, {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": ""}, {"type": "function_call_output", "call_id": "c", "output": KEPT}]}),
    ("responses", {"input": [USER, {"type": "web_search_call", "id": "ws_1", "action": {"type": "open_page", "url": FOUND}}]}),
    ("gemini", {"tools": [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": {"type": "object"}, "behavior": "BLOCKING"}]}, {"googleSearch": {}}]}),
    ("gemini", {"contents": [{"role": "user", "parts": [{"text": "x"}]}, {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"url": KEPT}}}]}, {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"fileUri": KEPT}}}]}]}),
]  # fmt: skip


@pytest.mark.parametrize(("api", "said"), GOES_ON)
async def test_what_asks_for_nothing_that_is_kept_goes_on(api, said):
    kind, options = OWN[api]
    async with (
        ScriptedUpstream(otherwise=respond(500)) as upstream,
        served(upstream, kind, options) as found,
    ):
        answer = await asked(found, PATHS[api], body_of(api, said))
        assert answer.status_code != 403, answer.text
        assert posted(upstream)


def nested(block, times):
    for _ in range(times):
        block = {"type": "tool_result", "tool_use_id": "t", "content": [block]}
    return block


@pytest.mark.parametrize(
    "content",
    [
        [[{"type": "file", "file": {"file_id": "file-kept"}}]],
        [{"type": "text", "text": "x"}, [[{"type": "file", "file": {"file_id": "file-kept"}}]]],
        [nested({"type": "document", "source": {"type": "file", "file_id": "f"}}, 33)],
        [nested({"type": "text", "text": "deeper than it is looked into"}, 33)],
    ],
)
@pytest.mark.parametrize("api", ["messages", "chat"])
async def test_lists_in_lists_hide_nothing_and_what_is_too_deep_is_refused(api, content):
    said = body_of(api, {"messages": [{"role": "user", "content": content}]})
    await refused(api, said, *OWN[api])
