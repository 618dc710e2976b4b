"""What upstreams say, made wrong in one place or a few: values, events, bytes, head.

Every choice is of the `random.Random` that is given, so that an answer can be made again.
"""

from __future__ import annotations

import copy
import json
import math
from dataclasses import dataclass, field, replace

import gemini_answers
import responses_answers

from plugway.testing import ERRORS, anthropic_message, anthropic_stream
from plugway_openai_wire.testing import chat_chunks, chat_message, chunk, tool_delta
from tests.faults.answers import streamed, whole

JSON, EVENTS = "application/json", "text/event-stream"
CALLS = [("Read", '{"path": "a"}'), ("Bash", '{"command": "ls", "timeout": 5}')]
WORDS = ["I ", "look ", "é 😀\n", "<tool_call>", "done."]


@dataclass(frozen=True)
class Said:
    """An answer as it is before it is written: JSON values with the names of their events, and
    bytes where an event is no JSON."""

    stream: bool
    items: tuple[tuple[str, object], ...]
    status: int = 200
    lines: tuple[tuple[str, str], ...] = ()
    end: bytes = b"\n\n"


@dataclass
class Answer:
    """An answer as an upstream sends it."""

    status: int
    lines: tuple[tuple[str, str], ...]
    pieces: list[bytes]
    whole: bool = True
    """Its end is told; else the connection breaks after it."""
    told: list[str] = field(default_factory=list)
    """What was done to it."""

    @property
    def body(self):
        return b"".join(self.pieces)


# ── what is made wrong ───────────────────────────────────────────────────────────────────────


def _parsed(raw):
    """The events of a written stream as (name, value)."""
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
    """The same answers in each API."""
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
    """What Anthropic's own servers say beyond text, thinking and calls."""
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
    """What servers of Chat Completions say each in their own way."""
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
    """The errors that real servers are known to send, whoever sends them here."""
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


# ── how it is made wrong ─────────────────────────────────────────────────────────────────────


def _deep(levels):
    value = "x"
    for level in range(levels):
        value = [value] if level % 2 else {"type": value}
    return value


VALUES = [
    None, True, False, 0, -1, 1, 2, 7, 1.5, -0.0, 2**31, 2**53 + 1, 2**63, 2**64, 10**30, 10**400, 1e308,
    float("nan"), float("inf"), float("-inf"), "", " ", "x", "\0", "\n\n", "\r\ndata: x\n\n", "\ud83d", "\ude00",
    "\ud83d\ude00", "\u2028", "\ufeff", "é" * 50, "9" * 400, "x" * 5000, "0", "null", "{}", "[1", '{"a":', '"',
    [], [1, 2], [None], [[]], ["x"], [{}], {}, {"x": 1}, {"type": None}, {"type": 5}, {"type": "text"},
    {"type": "tool_use"}, {"text": {}}, {"": {"": ""}}, {"error": {"message": "busy"}}, _deep(40), _deep(300),
    json.dumps(_deep(300)), json.dumps({"path": _deep(240)}), json.dumps({"path": _deep(230)}), "http://[", "a.b/c",
]  # fmt: skip
UNKNOWN = [
    {"type": "news"}, {"type": "ping"}, {}, [], None, 5, "x", {"type": ["x"]}, {"type": None, "index": 10**20},
    {"choices": None}, {"choices": [None]}, {"candidates": [[]]}, {"error": None}, {"error": "x"}, {"error": {}},
    {"type": "error"}, {"type": "error", "error": {"type": 5, "message": ["x"]}}, {"usage": {"total_tokens": -5}},
    {"object": "error", "message": "x", "code": 40}, {"response": {}}, {"promptFeedback": 5},
]  # fmt: skip
NAMES = ["", "message", "error", "ping", "message_start", "message_stop", "content_block_stop", "response.completed", "é", "x" * 300]  # fmt: skip
TYPES = [
    "", "text/plain", "text/html; charset=x", JSON, "application/json; charset=utf-16", EVENTS, "TEXT/EVENT-STREAM",
    "application/x-ndjson", "image/png", ";", "é", "application/octet-stream",
]  # fmt: skip
STATUSES = [200, 201, 204, 206, 299, 300, 304, 400, 401, 402, 403, 404, 405, 408, 409, 413, 418, 422, 424, 429, 451, 499, 500, 501, 502, 503, 504, 520, 529, 599, 600, 999]  # fmt: skip
ODD_BYTES = [b"\xff", b"\xed\xa0\x80", b"\xc0\x80", b"\xf5", b"\0", b"\xef\xbb\xbf", b"\r", b"\n", b"\n\n", b"\\", b'"', b"data: ", b":", b"\x1f\x8b", b"\\ud83d", b"\\u0000", b"NaN", b"-", b"1e999"]  # fmt: skip


_DEEPEST_PLACE = 30


def places(node, path=(), deepest=math.inf):
    """The path of every node below the root, down to `deepest` levels."""
    if len(path) > deepest:
        return
    found = (
        node.items()
        if isinstance(node, dict)
        else enumerate(node)
        if isinstance(node, list)
        else ()
    )
    for key, value in found:
        yield (*path, key)
        yield from places(value, (*path, key), deepest)


def _at(node, path):
    for key in path:
        node = node[key]
    return node


def _alike(items, value, chance):
    """Some value of the same answer, of the same type: another name, index, id or reason."""
    found = [
        inner
        for _, data in items
        for path in places(data, deepest=_DEEPEST_PLACE)
        if type(inner := _at(data, path)) is type(value) and inner != value
    ]
    return copy.deepcopy(chance.choice(found)) if found else None


def _value_changed(items, chance):
    """One node of one event is another value, is gone, nested, emptied, near, or stands twice."""
    able = [n for n, (_, data) in enumerate(items) if isinstance(data, dict | list) and data]
    if not able:
        return "nothing"
    number = chance.choice(able)
    name, data = items[number]
    data = copy.deepcopy(data)
    path = chance.choice(list(places(data, deepest=_DEEPEST_PLACE)))
    holder, key = _at(data, path[:-1]), path[-1]
    old, how = holder[key], chance.random()
    if how < 0.4:
        holder[key] = copy.deepcopy(chance.choice(VALUES))
    elif how < 0.55:
        del holder[key]
    elif how < 0.65:
        holder[key] = chance.choice([[old], {"x": old}, {key if isinstance(key, str) else "x": old}, [old, old]])  # fmt: skip
    elif how < 0.72:
        holder[key] = type(old)() if old is not None else ""
    elif how < 0.85:
        holder[key] = _alike(items, old, chance)
    elif isinstance(old, int | float) and not isinstance(old, bool):
        holder[key] = chance.choice([old + 1, old - 1, -old, old * 10**18, str(old), [old]])
    elif isinstance(old, str):
        cut = chance.randrange(len(old) + 1)
        holder[key] = chance.choice([old[:cut], old * 2, old.upper(), old[:cut] + "\ud83d" + old[cut:], [old], old + "\0"])  # fmt: skip
    elif isinstance(holder, list):
        holder.insert(key, copy.deepcopy(old))
    else:
        holder[f"{key}2"] = old
    items[number] = (name, data)
    return f"event {number} at {path}: {str(holder[key] if not isinstance(holder, list) and key in holder else '')[:40]!r}"  # fmt: skip


def _events_changed(items, chance):
    """Events are gone, twice, elsewhere, under another name, or nobody knows them."""
    at = chance.randrange(len(items))
    to = chance.randrange(len(items) + 1)
    how = chance.randrange(10)
    if how == 0:
        del items[at]
    elif how == 1:
        items.insert(to, copy.deepcopy(items[at]))
    elif how == 2:
        items.insert(to, items.pop(at))
    elif how == 3:
        other = chance.randrange(len(items))
        (one, a), (two, b) = items[at], items[other]
        items[at], items[other] = (two, a), (one, b)
    elif how == 4:
        items[at] = (chance.choice(NAMES), items[at][1])
    elif how == 5:
        items.insert(to, (chance.choice(NAMES), copy.deepcopy(chance.choice(UNKNOWN))))
    elif how == 6:
        del items[to:]
    elif how == 7:
        items += copy.deepcopy(items[:to])
    elif how == 8:
        chance.shuffle(items)
    else:
        items[to:to] = copy.deepcopy([items[at]] * chance.randrange(2, 40))
    return f"events {how} at {at} to {to}"


def _text(value, chance):
    if isinstance(value, bytes):
        return value
    if chance.random() < 0.7:
        return json.dumps(value).encode()
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _written(said, chance):
    """The bytes of each item."""
    if not said.stream:
        return [_text(data, chance) for _, data in said.items]
    end = said.end if chance.random() < 0.9 else chance.choice([b"\n\n", b"\r\n\r\n", b"\r\r"])
    line = end[: len(end) // 2]
    found = []
    for name, data in said.items:
        head = b"event: " + name.encode() + line if name else b""
        found.append(head + b"data: " + _text(data, chance) + end)
    return found


def _bytes_changed(raw, chance):
    """Some bytes are others, gone, more, or the rest never comes."""
    if not raw:
        return raw, "nothing"
    raw, at = bytearray(raw), chance.randrange(len(raw))
    how = chance.randrange(6)
    if how == 0:
        for _ in range(chance.randrange(1, 6)):
            raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
    elif how == 1:
        del raw[at:]
    elif how == 2:
        del raw[at : at + chance.randrange(1, 60)]
    elif how == 3:
        raw[at:at] = chance.choice(ODD_BYTES) * chance.randrange(1, 4)
    elif how == 4:
        raw[at:at] = raw[at : at + chance.randrange(1, 400)]
    else:
        raw[at] = chance.randrange(256)
    return bytes(raw), f"bytes {how} at {at}"


def _pieces(raw, parts, chance):
    """`raw` in pieces as a network cuts it."""
    how = chance.random()
    if how < 0.3:
        return parts if b"".join(parts) == raw else [raw]
    if how < 0.6:
        return [raw]
    size = chance.choice([1, 7, 64, 1000])
    if len(raw) > 3000 and size == 1:
        size = 50
    return [raw[at : at + size] for at in range(0, len(raw), size)]


def _head_changed(status, type_, chance):
    if chance.random() < 0.5:
        return chance.choice(STATUSES), type_
    return status, chance.choice(TYPES)


def mutated(api, stream, chance):
    """An answer of `api` that is wrong; `stream` says what was asked for."""
    seeds = SEEDS[api]
    if chance.random() < 0.12:
        said = chance.choice(FAILURES)
    else:
        wanted = stream if chance.random() < 0.95 else not stream
        said = seeds[chance.choice([n for n in range(len(seeds)) if (n in NUMBERS[api]) is wanted])]
    items, told = list(said.items), []
    times = chance.choice([1, 1, 1, 1, 1, 1, 2, 2, 3, 6])
    later = 0
    for _ in range(times):
        how = chance.random()
        if how < 0.5 and items:
            told.append(_value_changed(items, chance))
        elif how < 0.75 and items and said.stream:
            told.append(_events_changed(items, chance))
        else:
            later += 1
    parts = _written(replace(said, items=tuple(items)), chance)
    raw = b"".join(parts)
    status, type_, whole_ = said.status, EVENTS if said.stream else JSON, True
    for _ in range(later):
        how = chance.random()
        if how < 0.6:
            raw, did = _bytes_changed(raw, chance)
            told.append(did)
        elif how < 0.9:
            status, type_ = _head_changed(status, type_, chance)
            told.append(f"{status} {type_!r}")
        else:
            whole_ = False
            told.append("no end")
    named = dict(said.lines)
    lines = ((("content-type", type_),) if type_ else ()) + tuple(
        line for line in named.items() if line[0] != "content-type"
    )
    return Answer(status, lines, _pieces(raw, parts, chance), whole_, told)
