"""There and back again: what both APIs can say comes back as it was.

The way back is the translator of `plugway-openai-wire`, which turns Messages requests into OpenAI's
and OpenAI's answers into the Messages API's.
"""

import asyncio
from types import SimpleNamespace

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from plugway import Attempt, MessagesRequest, replay
from plugway_capabilities import Facts
from plugway_openai_api._chat_reply import ChatEncoder
from plugway_openai_api._chat_request import chat_request
from plugway_openai_api._responses_reply import ResponsesEncoder
from plugway_openai_api._responses_request import responses_request
from plugway_openai_api._tools import ToolBook
from plugway_openai_wire.chat import ChatApi, Quirks
from plugway_openai_wire.responses import ResponsesApi
from plugway_translation import Notes
from plugway_wire.events import collect

ALL = Quirks(
    output_limit_field="max_completion_tokens",
    system_turns="keep",
    text_parts=True,
    documents=True,
    reasoning="effort",
    efforts=("none", "minimal", "low", "medium", "high", "xhigh", "max"),
    parallel_flag=True,
    strict=True,
    top_k=True,
)
ATTEMPT = Attempt(SimpleNamespace(name="openai", zone="openai"), "m")  # type: ignore[arg-type]
WORDS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=9
)
TEXT = WORDS.map(lambda text: f"a{text}")
NAMES = st.from_regex(r"[a-zA-Z0-9_-]{1,20}", fullmatch=True)
IDS = st.from_regex(r"call_[a-zA-Z0-9]{1,12}|[a-z]{1,4}[.:|][0-9]{1,4}", fullmatch=True)
JSON = st.dictionaries(
    WORDS, st.integers(-9, 9) | WORDS | st.lists(st.booleans(), max_size=2), max_size=3
)
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}
PARTS = st.lists(TEXT.map(lambda text: {"type": "text", "text": text}), min_size=1, max_size=2)


def back(api, body):
    """What the other translator makes of a Messages request."""
    call = api.call(MessagesRequest(orjson.dumps(body)), ATTEMPT, Facts())
    return dict(call.body)


# ── requests ─────────────────────────────────────────────────────────────────────────────────────

FUNCTIONS = st.fixed_dictionaries(
    {
        "name": NAMES,
        "parameters": st.just(
            {
                "type": "object",
                "properties": {"a": {"type": "string"}},
                "required": ["a"],
                "additionalProperties": False,
            }
        ),
    },
    optional={"description": TEXT, "strict": st.just(True)},
)
COMMON = {
    "temperature": st.sampled_from([0, 0.5, 1]),
    "top_p": st.sampled_from([0.1, 1]),
    "stream": st.just(True),
}
"""Without the user, whom the way back tells OpenAI as a hash."""
CHAT_FIELDS = st.fixed_dictionaries(
    {"max_completion_tokens": st.integers(1, 9999)},
    optional={
        **COMMON,
        "stop": st.lists(TEXT, min_size=1, max_size=4, unique=True),
        "reasoning_effort": st.sampled_from(["none", "low", "medium", "high", "xhigh", "max"]),
        "top_k": st.integers(1, 99),
    },
)


@st.composite
def chat_turns(draw):
    """User, then an assistant with or without calls and their results, and so on to a user."""
    found, used = [], set()
    if draw(st.booleans()):
        found.append({"role": "system", "content": draw(TEXT)})
    for _ in range(draw(st.integers(0, 3))):
        found.append({"role": "user", "content": draw(TEXT | PARTS.map(lambda p: [*p, PICTURE]))})
        said = {"role": "assistant", "content": draw(TEXT)}
        found.append(said)
        ids = [i for i in draw(st.lists(IDS, max_size=3, unique=True)) if i not in used]
        used.update(ids)
        if not ids:
            continue
        said["content"] = draw(st.none() | TEXT)
        said["tool_calls"] = [
            {
                "id": id_,
                "type": "function",
                "function": {"name": draw(NAMES), "arguments": orjson.dumps(draw(JSON)).decode()},
            }
            for id_ in ids
        ]
        results = [{"role": "tool", "tool_call_id": id_, "content": draw(TEXT)} for id_ in ids]
        found += results
    found.append({"role": "user", "content": draw(TEXT)})
    return found


@settings(max_examples=80, deadline=None)
@given(
    messages=chat_turns(),
    fields=CHAT_FIELDS,
    functions=st.lists(FUNCTIONS, max_size=3, unique_by=lambda f: f["name"]),
    choice=st.sampled_from([None, "auto", "required", "none", "first"]),
    parallel=st.sampled_from([None, False]),
)
def test_a_chat_request(messages, fields, functions, choice, parallel):
    body = {"model": "m", "messages": messages, **fields}
    if functions:
        body["tools"] = [{"type": "function", "function": function} for function in functions]
        if choice == "first":
            choice = {"type": "function", "function": {"name": functions[0]["name"]}}
        if choice is not None:
            body["tool_choice"] = choice
        if parallel is not None and choice is not None and choice != "none":
            body["parallel_tool_calls"] = parallel
    notes = Notes()
    found = back(ChatApi(ALL), chat_request(body, notes, max_tokens=1))
    found.pop("stream_options", None)
    assert notes.fields() <= {
        "reasoning_effort"
    }  # a forced call: the effort comes back all the same
    assert _plain(found) == _plain(body)


def _plain(body):
    """A text alone in its parts is the same as the text."""
    for message in body["messages"]:
        if isinstance(message.get("content"), list) and len(message["content"]) == 1:
            message["content"] = message["content"][0].get("text", message["content"])
    return body


@st.composite
def items(draw):
    """The conversation of an agent, as items."""
    found, used = [], set()
    for _ in range(draw(st.integers(0, 3))):
        found.append(_message("user", "input_text", draw(TEXT)))
        ids = [i for i in draw(st.lists(IDS, max_size=3, unique=True)) if i not in used]
        used.update(ids)
        if not ids or draw(st.booleans()):
            found.append(_message("assistant", "output_text", draw(TEXT)))
        for id_ in ids:
            arguments = orjson.dumps(draw(JSON)).decode()
            call = {"type": "function_call", "call_id": id_, "name": draw(NAMES)}
            found.append({**call, "arguments": arguments})
        for id_ in ids:
            output = draw(TEXT)
            found.append({"type": "function_call_output", "call_id": id_, "output": output})
    found.append(_message("user", "input_text", draw(TEXT)))
    return found


def _message(role, kind, text):
    part = {"type": kind, "text": text}
    if kind == "output_text":
        part["annotations"] = []
    return {"type": "message", "role": role, "content": [part]}


@settings(max_examples=80, deadline=None)
@given(
    conversation=items(),
    fields=st.fixed_dictionaries({"max_output_tokens": st.integers(16, 9999)}, optional=COMMON),
    instructions=TEXT,
)
def test_a_responses_request(conversation, fields, instructions):
    body = {"model": "m", "instructions": instructions, "input": conversation, **fields}
    notes = Notes()
    found = back(ResponsesApi(), responses_request(body, notes, max_tokens=1))
    assert not notes
    told = {name: found.get(name) for name in ("instructions", "input", *fields)}
    expected = {name: body[name] for name in ("instructions", "input", *fields)}
    assert told == expected


# ── answers ──────────────────────────────────────────────────────────────────────────────────────


@st.composite
def answers(draw):
    content = []
    if draw(st.booleans()):
        content.append({"type": "thinking", "thinking": draw(TEXT), "signature": ""})
    if text := draw(st.none() | TEXT):
        content.append({"type": "text", "text": text})
    ids = st.lists(st.from_regex(r"toolu_[a-z0-9]{4}", fullmatch=True), max_size=3, unique=True)
    content += [
        {"type": "tool_use", "id": id_, "name": draw(NAMES), "input": draw(JSON)}
        for id_ in draw(ids)
    ]
    if not text and (not content or content[-1]["type"] != "tool_use"):
        content.append({"type": "text", "text": draw(TEXT)})
    calls = content[-1]["type"] == "tool_use"
    usage = {
        "input_tokens": draw(st.integers(1, 99)),
        "cache_creation_input_tokens": draw(st.integers(0, 9)),
        "cache_read_input_tokens": draw(st.integers(0, 9)),
        "output_tokens": draw(st.integers(1, 99)),
    }
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": content,
        "stop_reason": "tool_use" if calls else draw(st.sampled_from(["end_turn", "max_tokens"])),
        "stop_sequence": None,
        "usage": usage,
    }


def seen(message):
    """What both sides can say of an answer."""
    content = [{k: v for k, v in b.items() if k != "signature"} for b in message["content"]]
    usage = {name: message["usage"][name] for name in message["usage"] if name.endswith("_tokens")}
    return {"content": content, "stop_reason": message["stop_reason"], "usage": usage}


def read(api, answer, *, stream):
    """The message that the other translator reads in OpenAI's bytes."""
    names = {b["name"] for b in answer["content"] if b["type"] == "tool_use"}
    tools = [{"name": name, "input_schema": {"type": "object"}} for name in sorted(names)]
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
    asked = MessagesRequest(orjson.dumps({**body, "tools": tools}))
    reader = api.call(asked, ATTEMPT, Facts()).reader()
    encoder = _encoder(api)
    if not stream:
        return _collected(reader.whole(orjson.loads(encoder.message(answer))))
    events = []
    raw = b"".join(encoder.event(item) for item in replay(answer))
    for record in filter(None, raw.split(b"\n\n")):
        payload = record.split(b"data: ", 1)[1]
        if not reader.ended:
            events += reader.end() if payload == b"[DONE]" else reader.feed(orjson.loads(payload))
    return _collected(events)


def _encoder(api):
    if isinstance(api, ChatApi):
        return ChatEncoder(ToolBook({}), include_usage=True, now=lambda: 1)
    return ResponsesEncoder({}, ToolBook({}), now=lambda: 1)


def _collected(events):
    async def given():
        for item in events:
            yield item

    return asyncio.run(collect(given()))


@settings(max_examples=60, deadline=None)
@given(answer=answers(), stream=st.booleans())
def test_a_chat_answer(answer, stream):
    assert seen(read(ChatApi(ALL), answer, stream=stream)) == seen(answer)


@settings(max_examples=60, deadline=None)
@given(answer=answers(), stream=st.booleans())
def test_a_responses_answer(answer, stream):
    assert seen(read(ResponsesApi(), answer, stream=stream)) == seen(answer)
