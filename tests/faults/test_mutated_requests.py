"""Whatever stands at any place of a request, the answer is never a failure of the gateway.

A valid request of each dialect, with everything in it that clients send, has one node replaced and
goes through the shipped plugins to a server of each API. What is refused is refused with 4xx, in
the dialect's own words; and nothing is raised on the way. `PLUGWAY_MUTATIONS=50000` says how many
requests of each dialect.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import random

import pytest
from gemini_answers import answered, piece, text
from openai_answers import answer_of, message

from plugway.testing import (
    ScriptedUpstream,
    anthropic_message,
    anthropic_stream,
    build_plugin,
    gateway,
    respond,
    sse,
)
from plugway_anthropic import Anthropic
from plugway_gemini import Gemini
from plugway_ollama import Ollama
from plugway_openai import OpenAI
from plugway_openai_api import OpenAIApi
from plugway_openai_compatible import OpenAICompatible
from plugway_openai_wire.testing import chat_server
from plugway_switch import Switch
from plugway_testing._gateway import TOKEN
from tests.e2e.stack import shipped
from tests.faults.mutations import places

SLOW = os.environ.get("PLUGWAY_SLOW") == "1"
COUNT = int(os.environ.get("PLUGWAY_MUTATIONS") or (5000 if SLOW else 300))
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
    "stream_options": {"include_usage": True},
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
TARGETS = ("up0", "anthropic", "chat", "openai", "gemini", "ollama")


def deep(levels):
    value = "x"
    for level in range(levels):
        value = [value] if level % 2 else {"type": value}
    return value


VALUES = [
    None, True, False, 0, -1, 1.5, 2**31, 2**63, 10**25, 1e308, "", "x", "\x00\n", "\ud7ff\u202e", "9" * 400,
    [], [1, 2], [None], [[]], ["x"], [{}], [[[["x"]]]], {}, {"x": 1}, {"type": None}, {"type": 5},
    {"type": "text"}, {"type": "tool_use"}, {"type": "tool_result"}, {"type": []}, {"text": {}},
    {"type": "image", "source": 5}, {"type": "function"}, {"role": "user"}, deep(40), deep(200),
    [deep(100)] * 2, {"": {"": ""}}, {"$ref": "#"}, {"$ref": "#/$defs/x", "$defs": {"x": {"$ref": "#/$defs/x"}}},
]  # fmt: skip


def mutated(body, chance):
    """A copy in which one node, rarely two, is another value, is gone, or stands twice."""
    new = copy.deepcopy(body)
    for _ in range(1 if chance.random() < 0.8 else 2):
        path = chance.choice(list(places(new)))
        node = new
        for key in path[:-1]:
            node = node[key]
        how = chance.random()
        if how < 0.85:
            node[path[-1]] = copy.deepcopy(chance.choice(VALUES))
        elif how < 0.95 or isinstance(node, dict):
            del node[path[-1]]
        else:
            node.append(copy.deepcopy(node[path[-1]]))
    return new


def answers(request):
    """A server of every API."""
    if request.method == "GET":
        return respond(200, {"data": [{"id": "m"}]})
    if "generateContent" in request.path or "GenerateContent" in request.path:
        return answered(request, piece(text("Hello."), finish="STOP"))
    if "countTokens" in request.path:
        return respond(200, {"totalTokens": 5})
    if request.path.endswith("/count_tokens"):
        return respond(200, {"input_tokens": 5})
    if request.path.endswith("/responses"):
        return respond(200, answer_of(message("Hello.")))
    if request.path.endswith("/chat/completions"):
        return chat_server("Hello.")(request)
    streams = request.json.get("stream") is True
    return sse(anthropic_stream("Hello.")) if streams else respond(200, anthropic_message("Hello."))


def plugins(url):
    return [
        build_plugin(Switch, "switch"),
        build_plugin(OpenAIApi, "openai-api"),
        *shipped(url),
        build_plugin(Anthropic, "anthropic", api_key="k", base_url=url),
        build_plugin(OpenAICompatible, "chat", base_url=url, api_key="k", zone="vendor"),
        build_plugin(OpenAI, "openai", base_url=url, api_key="k"),
        build_plugin(Gemini, "gemini", base_url=url, api_key="k"),
        build_plugin(Ollama, "ollama", base_url=url),
    ]


def well_formed(dialect, answer):
    error = answer.json()["error"]
    if dialect == "messages":
        return answer.json()["type"] == "error" and bool(error["type"]) and bool(error["message"])
    return bool(error["message"]) and "type" in error and "code" in error


LIMITED = [{"name": "phone", "token": "limited-token-of-a-phone", "models": ["*"]}]
TOKENS = (TOKEN, TOKEN, TOKEN, LIMITED[0]["token"])
FAILED = ("event: error", "event: response.failed", 'data: {"error"')
"""How a stream tells a failure."""
ENDPOINTS = {
    "messages": ("",) * 8 + ("/count_tokens", "/explain"),
    "chat": ("",) * 9 + ("/explain",),
    "responses": ("",) * 9 + ("/explain",),
}
CASE_NAMES = ("messages", "gemini", "chat", "responses")
CASES = [
    ("messages", TARGETS[:4]), ("messages", ("gemini", "ollama")), ("chat", TARGETS), ("responses", TARGETS),
]  # fmt: skip


async def wrongs(dialect, targets, count, seed, caplog):
    """What was answered wrongly: number, target, status, words, and what was logged."""
    whole_path, whole = DIALECTS[dialect]
    chance = random.Random(f"{dialect} {seed}")
    found = []
    async with (
        ScriptedUpstream(otherwise=answers) as upstream,
        gateway(plugins(upstream.url), tokens=LIMITED) as running,
    ):
        for target in targets:
            answer = await running.post({**whole, "model": f"anthropic/{target}/m"}, whole_path)
            assert answer.status_code == 200, (target, answer.text)
        for number in range(count):
            target = chance.choice(targets)
            streams = chance.random() < 0.3
            body = {**whole, "model": f"anthropic/{target}/m", "stream": streams}
            path = whole_path + chance.choice(ENDPOINTS[dialect])
            running.client.headers["authorization"] = f"Bearer {chance.choice(TOKENS)}"
            caplog.clear()
            answer = await running.post(json.dumps(mutated(body, chance)).encode(), path)
            errors = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
            if answer.status_code >= 400:
                own = dialect if path == whole_path else "messages"
                wrong = answer.status_code >= 500 or not well_formed(own, answer)
            else:
                wrong = any(mark in answer.text for mark in FAILED)
            if wrong or errors:
                found.append((number, target, answer.status_code, answer.text[-300:], errors))
    return found


@pytest.mark.parametrize(("dialect", "targets"), CASES, ids=CASE_NAMES)
async def test_no_value_at_any_place_is_a_failure_of_the_gateway(dialect, targets, caplog):
    found = await wrongs(dialect, targets, COUNT, COUNT, caplog)
    assert not found, "\n".join(map(str, found[:20]))


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("content", [[1, 2], [None], 7, {"a": 1}, [[]], [{"type": 5}], True])
async def test_content_that_is_no_content_is_refused_in_the_dialects_words(dialect, content):
    path, _ = DIALECTS[dialect]
    name = "input" if dialect == "responses" else "messages"
    async with (
        ScriptedUpstream(otherwise=answers) as upstream,
        gateway(plugins(upstream.url)) as running,
    ):
        body = {"model": "anthropic/gemini/m", name: [{"role": "user", "content": content}]}
        if dialect == "messages":
            body["max_tokens"] = 5
        answer = await running.post(body, path)
    assert answer.status_code == 400, answer.text
    assert well_formed(dialect, answer)
