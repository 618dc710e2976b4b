"""Whatever a request contains, the response is never an internal error of the gateway.

A valid request of each dialect, with every field that clients send, gets a few mistakes and passes
through the default stack to a server of each API. Refusals have a 4xx status and the dialect's
format, and no exception is raised. See `findings` for how to try more of them, or others.
"""

from __future__ import annotations

import asyncio
import json
import random

import pytest

from plugway.testing import assert_valid_stream, gateway, parse_sse
from plugway_testing._gateway import TOKEN
from tests.faults.answers import APIS, streamed, whole
from tests.faults.clients import FAILED, WHOLE
from tests.faults.findings import Findings, errors_logged, how_many
from tests.faults.in_process import answered_by, ask
from tests.faults.mutations import (
    DEEPEST_PLACE,
    JSON,
    Answer,
    as_text,
    at,
    bytes_changed,
    copied,
    places,
    value_changed,
)
from tests.faults.seeds import EVENTS
from tests.faults.whole_stack import BACKENDS, whole_stack

COUNT = how_many(300, slow=5000)
MOST_SECONDS = 20
pytestmark = [pytest.mark.anyio, pytest.mark.timeout(1200 + COUNT)]

SCHEMA = {
    "type": "object",
    "properties": {
        "path": {"type": "string", "enum": ["a", "b"], "pattern": "^[a-z]+$"},
        "many": {"type": "array", "items": {"$ref": "#/$defs/one"}},
        "either": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    },
    "required": ["path"],
    "additionalProperties": False,
    "$defs": {"one": {"type": ["integer", "null"], "minimum": 0}},
}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
IMAGE = {"type": "base64", "media_type": "image/png", "data": PIXEL}
MESSAGES = {
    "model": "M",
    "max_tokens": 2000,
    "stream": False,
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 40,
    "stop_sequences": ["END"],
    "metadata": {"user_id": "user_1"},
    "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "tool_choice": {"type": "tool", "name": "Read", "disable_parallel_tool_use": True},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}},
    "context_management": {"edits": [{"type": "clear_tool_uses_20250919", "keep": {"type": "tool_uses", "value": 3}}]},
    "tools": [
        {"name": "Read", "description": "Reads.", "input_schema": SCHEMA, "cache_control": {"type": "ephemeral"}},
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 3, "allowed_domains": ["a.example"]},
        {"type": "bash_20250124", "name": "bash"},
    ],
    "messages": [
        {"role": "user", "content": "Begin."},
        {"role": "system", "content": "A reminder."},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "c2lnbmVk"},
                {"type": "redacted_thinking", "data": "aGlkZGVu"},
                {"type": "text", "text": "I read.", "citations": [{"type": "char_location", "cited_text": "x", "document_index": 0, "start_char_index": 0, "end_char_index": 1}]},
                {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}},
                {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [{"type": "web_search_result", "title": "T", "url": "https://a.example", "encrypted_content": "eA=="}]},
                {"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {"path": "a"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "is_error": False, "content": [{"type": "text", "text": "of a"}, {"type": "image", "source": IMAGE}, {"type": "tool_reference", "tool_name": "Read"}]},
                {"type": "image", "source": IMAGE},
                {"type": "image", "source": {"type": "url", "url": "https://a.example/i.png"}},
                {"type": "document", "title": "D", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}, "citations": {"enabled": True}},
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}},
                {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "in"}]}},
                {"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "found"}]},
                {"type": "text", "text": "Go on.", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
            ],
        },
    ],
}  # fmt: skip
CHAT = {
    "model": "M",
    "stream": False,
    "stream_options": None,
    "max_completion_tokens": 500,
    "temperature": 0.5,
    "top_p": 1,
    "n": 1,
    "stop": ["END"],
    "user": "u",
    "metadata": {"a": "b"},
    "seed": 1,
    "logit_bias": {"1": 2},
    "reasoning_effort": "low",
    "parallel_tool_calls": False,
    "tool_choice": {"type": "function", "function": {"name": "read"}},
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": SCHEMA}},
    "tools": [{"type": "function", "function": {"name": "read", "description": "d", "parameters": SCHEMA, "strict": True}}],
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": [{"type": "text", "text": "Briefer."}]},
        {"role": "user", "name": "u", "content": [
            {"type": "text", "text": "Look."},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}", "detail": "low"}},
            {"type": "image_url", "image_url": {"url": "https://a.example/i.png"}},
            {"type": "file", "file": {"filename": "f.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}},
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        ]},
        {"role": "assistant", "content": "I read.", "refusal": None, "reasoning_content": "Hm.", "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "read", "arguments": "{\"path\": \"a\"}"}},
        ]},
        {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "of a"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "Done."}, {"type": "refusal", "refusal": "no"}], "function_call": None},
        {"role": "user", "content": "Go on."},
    ],
}  # fmt: skip
RESPONSES = {
    "model": "M",
    "stream": False,
    "store": False,
    "instructions": "Be brief.",
    "max_output_tokens": 500,
    "temperature": 0.5,
    "top_p": 1,
    "user": "u",
    "prompt_cache_key": "k",
    "metadata": {"a": "b"},
    "include": ["reasoning.encrypted_content"],
    "parallel_tool_calls": False,
    "reasoning": {"effort": "low", "summary": "auto"},
    "text": {"verbosity": "low", "format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}},
    "tool_choice": {"type": "function", "name": "read"},
    "tools": [
        {"type": "function", "name": "read", "description": "d", "parameters": SCHEMA, "strict": True},
        {"type": "custom", "name": "patch", "description": "d", "format": {"type": "grammar", "syntax": "lark", "definition": "start: \"a\""}},
        {"type": "namespace", "name": "ns", "tools": [{"type": "function", "name": "inner", "parameters": SCHEMA}]},
        {"type": "web_search", "filters": {"allowed_domains": ["a.example"]}},
        {"type": "tool_search", "execution": "client", "parameters": SCHEMA},
        {"type": "local_shell"},
    ],
    "input": [
        {"type": "message", "role": "user", "content": [
            {"type": "input_text", "text": "Look."},
            {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}", "detail": "low"},
            {"type": "input_file", "filename": "f.pdf", "file_data": "data:application/pdf;base64,JVBERi0="},
        ]},
        {"role": "developer", "content": "A reminder."},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}], "content": [{"type": "reasoning_text", "text": "Hm."}], "encrypted_content": "eA=="},
        {"type": "message", "role": "assistant", "id": "msg_1", "content": [{"type": "output_text", "text": "I read.", "annotations": [{"type": "url_citation", "url": "u", "title": "t", "start_index": 0, "end_index": 1}]}]},
        {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "read", "arguments": "{\"path\": \"a\"}"},
        {"type": "function_call_output", "call_id": "call_1", "output": [{"type": "input_text", "text": "of a"}]},
        {"type": "custom_tool_call", "call_id": "call_2", "name": "patch", "input": "a"},
        {"type": "custom_tool_call_output", "call_id": "call_2", "output": "done"},
        {"type": "local_shell_call", "call_id": "call_3", "action": {"type": "exec", "command": ["ls"]}, "status": "completed"},
        {"type": "local_shell_call_output", "call_id": "call_3", "output": "a"},
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}},
        {"role": "user", "content": "Go on."},
    ],
}  # fmt: skip
DIALECTS = {
    "messages": ("/v1/messages", MESSAGES),
    "chat": ("/v1/chat/completions", CHAT),
    "responses": ("/v1/responses", RESPONSES),
}


HEADERS = {
    "content-type": ["", "application/json; charset=utf-8", "text/plain", "APPLICATION/JSON", "application/x-www-form-urlencoded", ";"],
    "anthropic-version": ["2023-06-01", "", "x", "9" * 400],
    "anthropic-beta": ["interleaved-thinking-2025-05-14", "", ",,", "x" * 2000, "a, b,c;d"],
    "user-agent": ["", "claude-cli/2.1.332", "x" * 2000, "é"],
    "accept": ["text/event-stream", "*/*", ""],
    "accept-encoding": ["gzip, br", "", "identity;q=0"],
    "content-encoding": ["gzip", "identity", ""],
    "x-api-key": ["k", ""],
    "x-claude-code-session-id": ["s", "", "é", "x" * 2000, "../.."],
    "x-stainless-retry-count": ["1", "x", "9" * 400],
    "origin": ["https://a.example", "null"],
    "expect": ["100-continue", "x"],
}  # fmt: skip
"""Valid and invalid values of a client's headers."""
REPEATS = (2, 3, 20, 300)


def moved(body, chance):
    """Move a node to the place of another one, into it, or next to it; or reorder or extend a list:
    known values at unexpected places."""
    all_places = places(body, deepest=DEEPEST_PLACE)
    one, other = chance.choice(all_places), chance.choice(all_places)
    value, holder, key = at(body, one), at(body, other[:-1]), other[-1]
    lists = [path for path in all_places if isinstance(at(body, path), list) and at(body, path)]
    how = chance.randrange(5)
    if how == 0 or not lists:
        holder[key] = copied(value)
        return f"{one} at {other}"
    if how == 1:
        source = chance.choice([MESSAGES, CHAT, RESPONSES])
        one = chance.choice(places(source))
        holder[key] = copied(at(source, one))
        return f"another dialect's {one} at {other}"
    path = chance.choice(lists)
    found = at(body, path)
    if how == 2:
        chance.shuffle(found)
    elif how == 3:
        found.insert(chance.randrange(len(found) + 1), copied(value))
    else:
        found *= chance.choice(REPEATS) if len(found) < 20 else 2
    return f"list {how} at {path}"


def mutated(body, chance):
    """A body with one or a few mistakes, its headers, and the changes."""
    items, headers, told = [("", copied(body))], {}, []
    raw = None
    for _ in range(chance.choice((1, 1, 1, 1, 1, 2, 2, 4))):
        how = chance.random()
        if how < 0.65:
            told.append(value_changed(items, chance))
        elif how < 0.85:
            told.append(moved(items[0][1], chance))
        elif how < 0.93:
            raw = True
        else:
            name = chance.choice(list(HEADERS))
            headers[name] = chance.choice(HEADERS[name])
            told.append(f"{name}: {headers[name][:40]}")
    written = as_text(items[0][1], chance)
    if raw:
        written, did = bytes_changed(written, chance)
        told.append(did)
    return written, headers, told


def answers(method, target, body):
    """A server of every API, which only accepts JSON."""
    path = target.partition("?")[0]
    if method == "GET":
        return said({"data": [{"id": "m"}]})
    value = json.loads(body, parse_constant=refused)
    if "countTokens" in path:
        return said({"totalTokens": 5})
    if path.endswith("/count_tokens"):
        return said({"input_tokens": 5})
    if "/api/show" in path:
        return Answer(404, (), [])
    api = APIS[path.split("/")[1]]
    if value.get("stream") is True or "stream" in path:
        return Answer(200, (("content-type", EVENTS),), streamed(api))
    return said(whole(api))


def refused(constant):
    raise ValueError(f"{constant} in what an upstream was sent")


def said(value):
    return Answer(200, (("content-type", JSON),), [json.dumps(value).encode()])


def well_formed(dialect, told):
    error = told["error"]
    if dialect == "messages":
        return told["type"] == "error" and bool(error["type"]) and bool(error["message"])
    return bool(error["message"]) and "type" in error and "code" in error


LIMITED = [{"name": "phone", "token": "limited-token-of-a-phone", "models": ["*"]}]
TOKENS = (TOKEN, TOKEN, TOKEN, LIMITED[0]["token"])
ENDPOINTS = {
    "messages": ("",) * 8 + ("/count_tokens", "/explain"),
    "chat": ("",) * 9 + ("/explain",),
    "responses": ("",) * 9 + ("/explain",),
}


class Trial:
    """One gateway, and its failures."""

    def __init__(self, running, log, findings):
        self.running, self.log, self.findings = running, log, findings

    async def ask(self, dialect, name):
        """One request of that dialect with the mistakes that `name` selects."""
        chance = random.Random(name)
        path, whole_body = DIALECTS[dialect]
        target = chance.choice(BACKENDS)
        body = {**whole_body, "model": f"anthropic/{target}/m", "stream": chance.random() < 0.3}
        own = path + chance.choice(ENDPOINTS[dialect])
        raw, headers, told = mutated(body, chance)
        token = chance.choice(TOKENS)
        client, problem, end = None, "", "none"
        try:
            async with asyncio.timeout(MOST_SECONDS):
                client = await ask(self.running, raw, own, token, headers)
            end = end_of(client)
            answered_well(dialect, own, client)
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        if problem or self.log.found:
            self.findings.add(
                name=name, target=target, path=own, problem=problem, log=self.log.found,
                changes=told, headers=headers, limited=token != TOKEN, asked=raw,
                status=client and client.status, end=client and client.end, answered=client and client.body,
            )  # fmt: skip
            self.log.found = []
        self.findings.ended(end)


def end_of(client):
    return "success" if client.status == 200 else f"refused with {client.status}"


SHOWN_AGAIN = RESPONSES.keys() - {"model"}
"""Fields of the request that the Responses API repeats unchanged."""
MISSING = {
    "messages": {},
    "chat": {"created": 1},
    "responses": {"tools": [], "tool_choice": "auto", "parallel_tool_calls": True},
}
"""Required fields of a response that the tests' upstreams leave out, or that are not checked."""


def answered_well(dialect, path, client):
    """Raises if a client of `dialect` could not use the response."""
    assert client.end in ("whole", "end"), client.end
    plain = path == DIALECTS[dialect][0]
    if client.status >= 400:
        assert client.status < 500, "an error of the gateway"
        assert well_formed(dialect if plain else "messages", json.loads(client.body))
        return
    assert client.status == 200
    assert not any(mark in client.body for mark in FAILED), "a failure in a stream"
    if not plain:
        json.loads(client.body)
    elif client.headers["content-type"].startswith(EVENTS):
        events = parse_sse(client.body)
        if dialect == "messages":
            assert_valid_stream(events)
        else:
            assert events
    else:
        told = json.loads(client.body)
        own = {key: value for key, value in told.items() if key not in SHOWN_AGAIN}
        WHOLE[dialect].model_validate(own | MISSING[dialect])


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_no_value_at_any_place_causes_an_internal_error(dialect, monkeypatch):
    findings = Findings(f"requests-{dialect}", COUNT)
    answered_by(monkeypatch, answers)
    plugins = whole_stack("http://127.0.0.1:9")
    with errors_logged() as log:
        async with gateway(plugins, tokens=LIMITED) as running:
            trial = Trial(running, log, findings)
            path, body = DIALECTS[dialect]
            for target in BACKENDS:
                whole_body = json.dumps({**body, "model": f"anthropic/{target}/m"}).encode()
                client = await ask(running, whole_body, path)
                assert client.status == 200, (target, client.body)
            large = {**body, "model": "anthropic/chat/m", "tools": body["tools"] * REPEATS[-1]}
            client = await ask(running, json.dumps(large).encode(), path)
            assert client.status < 500, (
                "as large as any, so that memory has been as high as it gets"
            )
            for number in range(COUNT):
                await trial.ask(dialect, findings.name(number))
    findings.check()


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("content", [[1, 2], [None], 7, {"a": 1}, [[]], [{"type": 5}], True])
async def test_invalid_content_is_refused_in_the_dialects_format(dialect, content, monkeypatch):
    path, _ = DIALECTS[dialect]
    name = "input" if dialect == "responses" else "messages"
    answered_by(monkeypatch, answers)
    async with gateway(whole_stack("http://127.0.0.1:9")) as running:
        body = {"model": "anthropic/gemini/m", name: [{"role": "user", "content": content}]}
        if dialect == "messages":
            body["max_tokens"] = 5
        client = await ask(running, json.dumps(body).encode(), path)
    assert client.status == 400, client.body
    assert well_formed(dialect, json.loads(client.body))
