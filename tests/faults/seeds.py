"""Correct replies of upstreams, and their known errors: in each API, as values that can be changed
before they are serialized."""

from __future__ import annotations

import json
from dataclasses import dataclass

import gemini_answers
import responses_answers

from plugway.testing import ERRORS, anthropic_message, anthropic_stream
from plugway_openai_wire.testing import chat_chunks, chat_message, chunk, tool_delta
from tests.faults.answers import streamed, whole

EVENTS = "text/event-stream"
CALLS = [("Read", '{"path": "a"}'), ("Bash", '{"command": "ls", "timeout": 5}')]
WORDS = ["I ", "look ", "é 😀\n", "<tool_call>", "done."]


@dataclass(frozen=True)
class Said:
    """A reply before it is serialized: JSON values with the names of their events, and bytes for
    events that are not JSON."""

    stream: bool
    items: tuple[tuple[str, object], ...]
    status: int = 200
    lines: tuple[tuple[str, str], ...] = ()
    end: bytes = b"\n\n"


def _parsed(raw):
    """The events of a serialized stream as (name, value)."""
    name, data = "", b""
    for line in raw.splitlines():
        if line.startswith(b"event: "):
            name = line[7:].decode()
        elif line.startswith(b"data: "):
            data = line[6:]
    return name, data if data == b"[DONE]" else json.loads(data)


def _stream(api, **said):
    end = b"\r\n\r\n" if api == "gemini" else b"\n\n"
    items = tuple(_parsed(raw) for raw in streamed(api, **said))
    return Said(True, items, end=end)


def _events(pairs, **more):
    return Said(True, tuple(pairs), **more)


def _one(value, **more):
    return Said(False, (("", value),), **more)


def _common(api):
    """The same replies in each API."""
    for said in (
        {"text": "Hello."},
        {"text": WORDS, "thinking": "Hm, é."},
        {"text": "I look.", "calls": CALLS, "thinking": "Hm."},
        {"text": "", "calls": CALLS[:1]},
        {"text": '<tool_call>{"name": "Read", "arguments": {"path": "a"}}</tool_call>'},
        {"text": "<think>Hm.</think>Hello <function=Read><parameter=path>a</parameter></function>"},
    ):
        yield _stream(api, **said)
        yield _one(whole(api, **said))


SEARCH = {"type": "web_search_result", "title": "T", "url": "https://a.example", "encrypted_content": "eA==", "page_age": None}  # fmt: skip
RICH_USAGE = {
    "input_tokens": 10, "output_tokens": 5, "cache_creation_input_tokens": 3, "cache_read_input_tokens": 4,
    "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 0},
    "server_tool_use": {"web_search_requests": 1, "web_fetch_requests": 0}, "service_tier": "standard",
}  # fmt: skip
RICH_BLOCKS = [
    {"type": "redacted_thinking", "data": "aGlkZGVu"},
    {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}},
    {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [SEARCH]},
    {"type": "text", "text": "It rains.", "citations": [{"type": "web_search_result_location", "cited_text": "x", "url": "u", "title": "t", "encrypted_index": "i"}]},
]  # fmt: skip


def _rich_messages():
    """Replies of Anthropic's own servers with more than text, thinking and calls."""
    events = anthropic_stream(WORDS, thinking=["H", "m"], tool_calls=[("Read", {"path": "a"})], usage=RICH_USAGE)  # fmt: skip
    middle, index = [], 3
    for block in RICH_BLOCKS:
        started = {**block, "input": {}} if "input" in block else dict(block)
        if block["type"] == "text":
            started = {"type": "text", "text": "", "citations": []}
        told = [("content_block_start", {"type": "content_block_start", "index": index, "content_block": started})]  # fmt: skip
        if "input" in block:
            delta = {"type": "input_json_delta", "partial_json": '{"query": "q"}'}
            told.append(("content_block_delta", {"type": "content_block_delta", "index": index, "delta": delta}))  # fmt: skip
        for citation in block.get("citations", ()):
            delta = {"type": "citations_delta", "citation": citation}
            told.append(("content_block_delta", {"type": "content_block_delta", "index": index, "delta": delta}))  # fmt: skip
        if block["type"] == "text":
            delta = {"type": "text_delta", "text": "It rains."}
            told.append(("content_block_delta", {"type": "content_block_delta", "index": index, "delta": delta}))  # fmt: skip
        told.append(("content_block_stop", {"type": "content_block_stop", "index": index}))
        middle += told
        index += 1
    ping = ("ping", {"type": "ping"})
    yield _events([events[0], ping, *events[1:-2], *middle, ping, *events[-2:]])
    message = anthropic_message("x", tool_calls=[("Read", {"path": "a"})], usage=RICH_USAGE)
    managed = {"applied_edits": [{"type": "clear_tool_uses_20250919", "cleared_tool_uses": 1, "cleared_input_tokens": 9}]}  # fmt: skip
    message["content"] = [*RICH_BLOCKS, *message["content"]]
    yield _one({**message, "context_management": managed, "container": None})
    failed = {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}
    yield _events([*events[:3], ("error", failed)])
    yield _events([*events[:1], ("error", failed)])


def _rich_chat():
    """Special replies of various servers of Chat Completions."""
    details = [{"type": "reasoning.text", "text": "Hm.", "signature": "c2ln", "format": "x", "index": 0}]  # fmt: skip
    carried = {"extra_content": {"google": {"thought_signature": "c2ln"}}}
    usage = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17, "prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 2}}  # fmt: skip
    odd = [
        chunk({"role": "assistant", "reasoning": "Hm.", "reasoning_details": details}),
        chunk({"content": [{"type": "text", "text": "parts"}, {"type": "thinking", "thinking": [{"type": "text", "text": "t"}]}]}),
        chunk(tool_delta(0, "", id="call_1", type="function", name="Read")),
        chunk({"tool_calls": [{"index": 1, "id": "call_2", "type": "function", "function": {"name": "Bash", "arguments": {"command": "ls"}}, **carried}]}),
        chunk(tool_delta(0, '{"path"')), chunk(tool_delta(0, ': "a"}')),
        chunk({"refusal": None, "annotations": [{"type": "url_citation", "url_citation": {"url": "u", "title": "t", "start_index": 0, "end_index": 1}}]}),
        {**chunk({}, "tool_calls"), "usage": usage, "timings": {"prompt_n": 1}},
    ]  # fmt: skip
    odd[-1]["choices"][0]["usage"] = usage
    yield _events([("", data) for data in odd] + [("", b"[DONE]")])
    refused = [*chat_chunks("")[:1], chunk({"refusal": "I will not."}), chunk({}, "content_filter")]
    yield _events([("", data) for data in refused] + [("", b"[DONE]")])
    old = [*chat_chunks("")[:1], chunk({"function_call": {"name": "Read", "arguments": "{}"}}), chunk({}, "function_call")]  # fmt: skip
    yield _events([("", data) for data in old] + [("", b"[DONE]")])
    fields = {"reasoning_content": "Hm.", "reasoning_details": details, "refusal": None, "annotations": []}  # fmt: skip
    yield _one(chat_message("Hello.", tool_calls=[("c", "Read", '{"path": "a"}')], usage=usage, **fields))  # fmt: skip
    yield _one(chat_message(None, tool_calls=[("c", "Read", "{}"), ("c", "Bash", "")]))
    yield _events([*[("", data) for data in chat_chunks("Hel lo")[:2]], ("", {"error": {"message": "busy", "code": 503}})])  # fmt: skip


def _rich_responses():
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}}  # fmt: skip
    custom = {"type": "custom_tool_call", "id": "ct_1", "call_id": "call_9", "name": "Bash", "input": "ls"}  # fmt: skip
    refusal = {"type": "refusal", "refusal": "I will not."}
    answer = responses_answers.response(
        responses_answers.reasoning("A.", "B.", content=["Hm."]),
        search,
        responses_answers.message("Hi", responses_answers.CITED, refusal),
        responses_answers.call("Read", '{"path": "a"}'),
        custom,
        {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "iVBO"},
    )
    short = responses_answers.response(
        responses_answers.message("Hi", status="incomplete"),
        status="incomplete",
        incomplete_details={"reason": "max_output_tokens"},
    )
    for told in (answer, short):
        yield _events([(data["type"], data) for data in responses_answers.stream(told, chop=5)])
        yield _one(told)
    failed = {**short, "status": "failed", "error": {"code": "server_error", "message": "busy"}}
    yield _events([("response.failed", {"type": "response.failed", "sequence_number": 0, "response": failed})])  # fmt: skip
    yield _one(failed)


def _rich_gemini():
    sign = {"thoughtSignature": gemini_answers.SIGNATURE}
    grounding = {"groundingMetadata": {"webSearchQueries": ["q"], "groundingChunks": [{"web": {"uri": "u", "title": "t"}}], "groundingSupports": [{"segment": {"startIndex": 0, "endIndex": 3, "text": "Hel"}, "groundingChunkIndices": [0]}]}}  # fmt: skip
    pieces = [
        gemini_answers.piece(gemini_answers.thought("Hm.", **sign)),
        gemini_answers.piece(gemini_answers.text("Hel"), **grounding),
        gemini_answers.piece(
            gemini_answers.call("Read", {"path": "a"}, "id_1", **sign),
            gemini_answers.call("Bash", {"command": "ls"}),
            {"executableCode": {"language": "PYTHON", "code": "1"}},
            {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}},
            {"inlineData": {"mimeType": "image/png", "data": "iVBO"}},
        ),
        gemini_answers.piece(
            gemini_answers.text("", **sign), finish="STOP", usage=gemini_answers.USAGE
        ),
    ]
    end = b"\r\n\r\n"
    yield _events([("", data) for data in pieces], end=end)
    yield _events([("", gemini_answers.blocked())], end=end)
    for reason in ("MAX_TOKENS", "SAFETY", "MALFORMED_FUNCTION_CALL"):
        last = gemini_answers.piece(finish=reason, usage=gemini_answers.USAGE)
        yield _events([("", pieces[1]), ("", last)], end=end)
        yield _one(last)
    yield _one(gemini_answers.blocked())
    parts = [part for data in pieces for part in data["candidates"][0]["content"]["parts"]]
    yield _one(gemini_answers.piece(*parts, finish="STOP", usage=gemini_answers.USAGE, **grounding))


RICH = {
    "messages": _rich_messages,
    "chat": _rich_chat,
    "responses": _rich_responses,
    "gemini": _rich_gemini,
}


def _errors():
    """The errors that real servers are known to send, regardless of the API."""
    for canned in ERRORS.values():
        kept = tuple(line for line in canned.headers if line[0] != "retry-after")
        try:
            value = json.loads(canned.body)
        except ValueError:
            value = canned.body
        if dict(kept).get("content-type") == EVENTS:
            yield _events([_parsed(canned.body)], status=canned.status)
        else:
            yield _one(value, status=canned.status, lines=kept)


SEEDS = {api: [*_common(api), *rich()] for api, rich in RICH.items()}
FAILURES = list(_errors())
NUMBERS = {api: [n for n, said in enumerate(seeds) if said.stream] for api, seeds in SEEDS.items()}
