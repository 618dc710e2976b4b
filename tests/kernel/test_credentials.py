"""No key that the gateway was given is seen in an error, however it is spelled or cut."""

from __future__ import annotations

import html
import json
import random
from contextlib import suppress
from urllib.parse import quote

import httpx2
import pytest

from plugway.testing import (
    ScriptedUpstream,
    anthropic_stream,
    build_plugin,
    gateway,
    request_body,
    respond,
    sse,
)
from plugway.upstream.lines import from_upstream
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_error_normalizer import ErrorNormalizer
from plugway_gemini import Gemini
from plugway_log import (
    CleanStream,
    bytes_without_secrets,
    clean_reply,
    register_secret,
    without_secrets,
)
from plugway_openai_api import OpenAIApi
from plugway_openai_compatible import OpenAICompatible

KEY = "sk-Live/Abc+123_secretKEY==9"
ODD = 'pass "word" & <ümlaut>'
register_secret(KEY)
register_secret(ODD)
register_secret("ollama")


def dotnet(text):
    """As `System.Text.Json` writes a text: everything that HTML knows is escaped, in upper case."""
    plain = json.dumps(text)
    return "".join(f"\\u{ord(c):04X}" if c in "+&<>'" else c for c in plain)


SPELLINGS = {
    "plain": lambda key: key,
    "JSON": json.dumps,
    "JSON in UTF-8": lambda key: json.dumps(key, ensure_ascii=False),
    "PHP's JSON": lambda key: json.dumps(key).replace("/", "\\/"),
    ".NET's JSON": dotnet,
    "JSON in JSON": lambda key: json.dumps(json.dumps(key).replace("/", "\\/")),
    "JSON in JSON in JSON": lambda key: json.dumps(json.dumps(json.dumps(key))),
    "an address": lambda key: f"GET /x?key={quote(key, safe='')} failed",
    "an address in lower case": lambda key: quote(key, safe="").replace("%2F", "%2f"),
    "an address, slashes kept": quote,
    "a page": lambda key: html.escape(key).replace("/", "&#x2F;").replace("+", "&#43;"),
    "a dumped header": lambda key: json.dumps({"headers": {"authorization": f"Bearer {key}"}}),
    "twice": lambda key: f"{key} {key}",
}


@pytest.mark.parametrize("key", [KEY, ODD])
@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS)
def test_a_key_is_found_in_every_spelling(spell, key):
    said = f"bad: {spell(key)}, sorry"
    cleaned = without_secrets(said)
    assert "[redacted]" in cleaned
    assert not [part for part in ("secret", "Live", "word", "mlaut") if part in cleaned]
    assert cleaned.startswith("bad: ")
    assert cleaned.endswith(", sorry")


@pytest.mark.parametrize("cut", [KEY[:-1], KEY[:-4], KEY[:20]])
def test_a_key_that_was_cut_off_is_found(cut):
    assert without_secrets(f"said '{cut}'.") == "said '[redacted]'."


@pytest.mark.parametrize(
    "text",
    ["ollama has no such model", "sk-Live is how keys begin", "", "a key of sk-Live/Abc kind"],
)
def test_what_is_no_key_stays(text):
    assert without_secrets(text) is text
    raw = text.encode()
    assert bytes_without_secrets(raw) is raw


def test_header_lines_with_a_key_do_not_pass():
    lines = (("x-ratelimit-key", KEY), ("anthropic-x", f"a {KEY}"), ("x-ratelimit-limit", "7"))
    assert from_upstream(lines) == (("x-ratelimit-limit", "7"),)


SAID = [
    event % KEY.encode()
    for event in (
        b'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"bad %b"}}\n\n',
        b'event: error\ndata: {"message":"bad %b","code":401}\n\n',
        b'data: {"error": {"message": "bad %b", "code": 500}}\n\n',
        b'data: {"error":"bad %b"}\r\n\r\n',
        b'data: {"choices":[{"delta":{},"finish_reason":"error","error":{"message":"%b"}}]}\n\n',
        b'event: response.failed\ndata: {"type":"response.failed","response":{"error":'
        b'{"message":"bad %b"}}}\n\n',
        b'data: {"type":"response.failed","response":{"status":"failed","message":"%b"}}\n\n',
        b'data: {"type":"error","code":null,"message":"bad %b"}\n\n',
        b'data: {"errors":[{"message":"%b"}]}\n\n',
        b'data: {"detail":"invalid key %b"}\n\n',
        b'data: {"base_resp":{"status_code":1004,"status_msg":"login fail %b"},"choices":null}\n\n',
        b'data: {"error_type":"auth","error_message":"bad %b"}\n\n',
        b'data: {"Error":"bad %b"}\n\n',
        b"data: invalid key %b\n\n",
        b'data: {"detail":"bad %b"}\n\r\n',
        b'data: {"detail":"bad %b"}\r\n\n',
        b'id: 1\revent: error\rdata: {"message":"%b","content":[{"a":1}]}\r\r',
        b'data: {"choices":[{"message":{}}],"base_resp":{"status_msg":"login fail %b"}}\n\n',
        b'data: {"content":[{"type":"text"}],"errors":[{"message":"%b"}]}\n\n',
        b'error: {"message":"bad %b"}\n\n',
        b": upstream failed %b\n\n",
    )
]
WORDS = [
    event % KEY.encode()
    for event in (
        b'data: {"choices":[{"delta":{"content":"%b \\"error\\": 1"}}]}\n\n',
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":'
        b'{"type":"input_json_delta","partial_json":"{\\"a\\":\\"%b"}}\n\n',
        b'data: {"type":"response.output_text.delta","delta":"%b"}\n\n',
        b'data: {"type":"response.completed","response":{"error":null,"output":[{"text":"%b"}]}}\n\n',
        b'data: {"candidates":[{"content":{"parts":[{"text":"%b"}]}}]}\n\n',
        b"data: [DONE]%.0b\n\n",
        b": ping%.0b\n\n",
    )
]


@pytest.mark.parametrize("seed", range(200))
def test_only_the_words_of_a_model_keep_a_key_however_a_stream_is_cut(seed):
    dice = random.Random(seed)
    events = dice.choices(SAID + WORDS, k=6)
    wanted = b"".join(e.replace(KEY.encode(), b"[redacted]") if e in SAID else e for e in events)
    cleaner, whole, out = CleanStream(), b"".join(events), b""
    sizes = dice.choice(((1,), (1, 2, 3), (7, 40), (300, 1000)))
    while whole:
        size = dice.choice(sizes)
        out += cleaner.feed(whole[:size])
        whole = whole[size:]
    assert out + cleaner.flush() == wanted


def test_a_stream_without_a_key_passes_at_once():
    cleaner = CleanStream()
    for item in WORDS[-2:]:
        assert cleaner.feed(item) is item


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_an_event_goes_on_as_soon_as_it_is_whole(end, size):
    cleaner = CleanStream()
    event = b"data: [DONE]" + end
    pieces = [event[at : at + size] for at in range(0, len(event), size)]
    for _ in range(3):
        assert b"".join(map(cleaner.feed, pieces)) == event


def test_a_large_event_of_a_model_goes_on_in_parts_and_keeps_its_words():
    cleaner = CleanStream()
    parts = [b'data: {"delta":"', b"x" * 2**17, KEY.encode(), b"y" * 2**17, KEY.encode(), b'"}\n\n']
    assert b"".join([*map(cleaner.feed, parts), cleaner.flush()]) == b"".join(parts)


@pytest.mark.parametrize("cut", [*range(1, len(KEY) + 1), 5000])
def test_a_key_in_a_large_error_is_found_wherever_the_stream_is_cut(cut):
    cleaner, begun = CleanStream(), b'data: {"error":{"message":"' + b"y" * 2**16
    whole = begun + KEY.encode() + b"z" * 9000 + b'"}}\n\n'
    pieces = [whole[: len(begun) + cut], whole[len(begun) + cut :]]
    cleaned = b"".join([*map(cleaner.feed, pieces), cleaner.flush()])
    assert cleaned == whole.replace(KEY.encode(), b"[redacted]")


def test_an_event_that_has_no_end_is_not_held_for_ever():
    cleaner = CleanStream()
    assert cleaner.feed(b'data: {"error":"') == b""
    assert len(cleaner.feed(b"x" * 2**17)) > 2**16


@pytest.mark.parametrize("body", [event.partition(b"data: ")[2].strip() for event in SAID[:14]])
def test_a_whole_answer_that_is_an_error_has_no_key(body):
    assert KEY.encode() not in clean_reply(body)


@pytest.mark.parametrize("body", [event.partition(b"data: ")[2].strip() for event in WORDS[:5]])
def test_what_a_model_says_in_a_whole_answer_stays(body):
    assert clean_reply(body) is body


BACKENDS = {
    "chat": lambda url: build_plugin(
        OpenAICompatible, "up", base_url=f"{url}/v1", api_key=KEY, zone="vendor"
    ),
    "messages": lambda url: build_plugin(
        AnthropicCompatible, "up", base_url=url, api_key=KEY, zone="vendor"
    ),
    "gemini": lambda url: build_plugin(Gemini, "up", base_url=url, api_key=KEY),
}
PATHS = ("/v1/messages", "/v1/chat/completions", "/v1/responses")


def asked(path, stream):
    turn = [{"role": "user", "content": "hi"}]
    if path == "/v1/messages":
        return request_body(model="up/m", stream=stream)
    field = "input" if path.endswith("responses") else "messages"
    return {"model": "up/m", field: turn, "stream": stream}


CHUNK = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n'
PARTS = b'data: {"candidates":[{"content":{"role":"model","parts":[{"text":"hi"}]}}]}\n\n'
BEGUN = {"chat": [CHUNK], "messages": anthropic_stream("hi")[:4], "gemini": [PARTS]}


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("backend", BACKENDS)
async def test_no_client_sees_the_key_that_an_upstream_repeats(backend, stream):
    now = [respond(500)]
    refused = json.dumps({"error": {"message": f"bad {KEY}"}})
    scripts = [
        respond(status, spell(refused), {"x-ratelimit-key": KEY})
        for status in (200, 400, 401, 429, 500)
        for spell in (str, lambda text: text.replace("/", "\\/"), lambda text: f"<p>{text}")
    ]
    scripts += [sse([*begun, e]) for e in SAID for begun in ([], BEGUN[backend])]
    async with ScriptedUpstream(otherwise=lambda _: now[0]) as server:
        layers = [build_plugin(OpenAIApi, "openai-api"), build_plugin(ErrorNormalizer, "errors")]
        async with gateway([*layers, BACKENDS[backend](server.url)]) as running:
            for now[0] in scripts:
                for path in PATHS:
                    seen = await read(running, path, asked(path, stream))
                    assert "secretKEY" not in seen, (path, seen)


async def read(running, path, body):
    """All that a client gets, also of an answer that breaks off."""
    seen = ""
    async with running.client.stream("POST", path, json=body) as answer:
        seen += str(answer.headers)
        with suppress(httpx2.RemoteProtocolError):
            async for piece in answer.aiter_text():
                seen += piece
    return seen
