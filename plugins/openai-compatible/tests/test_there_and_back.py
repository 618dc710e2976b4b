"""Chat Completions there and back: nothing that both sides can say is lost, all else is noted."""

import json

import orjson
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from plugway_openai_api._chat_reply import ChatEncoder
from plugway_openai_api._chat_request import chat_request
from plugway_openai_api._tools import ToolBook
from plugway_openai_wire.chat import ChatReader, Quirks, Target, request_of
from plugway_translation import Notes, Reasoning

OPEN = Quirks(
    text_parts=True,
    system_turns="keep",
    parallel_flag=True,
    documents=True,
    user_field="user",
    prefill="keep",
    reasoning="effort",
    efforts=("none", "minimal", "low", "medium", "high", "xhigh", "max"),
)
TARGET = Target(Reasoning("up", "m"), OPEN)

words = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12
)
names = st.from_regex(r"[a-zA-Z][a-zA-Z0-9_-]{0,20}", fullmatch=True)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**50), 2**50) | words,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=2),
    max_leaves=6,
)
objects = st.dictionaries(words, values, max_size=3)
texts = words.map(lambda text: {"type": "text", "text": text})
images = st.sampled_from(
    [
        {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
        {"type": "url", "url": "https://example.com/a.png"},
    ]
).map(lambda source: {"type": "image", "source": source})


@st.composite
def conversations(draw):
    """Turns in which every call has its result, as a client of the Messages API sends them."""
    turns, calls = [], 0
    turns.append(
        {"role": "user", "content": draw(st.lists(texts | images, min_size=1, max_size=2))}
    )
    for _ in range(draw(st.integers(0, 3))):
        uses = []
        for _ in range(draw(st.integers(0, 2))):
            calls += 1
            id_ = draw(st.sampled_from([f"toolu_{calls}", f"call_{calls}", f"pw_x_2e{calls}"]))
            uses.append(
                {"type": "tool_use", "id": id_, "name": draw(names), "input": draw(objects)}
            )
        # A blank text of the assistant is left out, because vendors refuse it.
        spoken = texts.filter(lambda block: block["text"].strip())
        said = draw(st.lists(spoken, min_size=0 if uses else 1, max_size=1))
        turns.append({"role": "assistant", "content": [*said, *uses]})
        results = [
            {"type": "tool_result", "tool_use_id": use["id"], "content": draw(words)}
            for use in uses
        ]
        more = draw(st.lists(texts | images, min_size=0 if uses else 1, max_size=2))
        turns.append({"role": "user", "content": [*results, *more]})
    return turns


tools = st.lists(
    st.fixed_dictionaries(
        {"name": names, "description": words},
    ).map(lambda tool: {**tool, "input_schema": {"type": "object", "properties": {}}}),
    min_size=1,
    max_size=3,
    unique_by=lambda tool: tool["name"],
)


@st.composite
def bodies(draw):
    """What both APIs can say."""
    body = {
        "model": "m",
        "max_tokens": draw(st.integers(1, 64_000)),
        "messages": draw(conversations()),
    }
    optional = {
        "system": words,
        "temperature": st.floats(0, 1),
        "top_p": st.floats(0, 1),
        "stop_sequences": st.lists(words, min_size=1, max_size=4),
        "stream": st.just(True),
        "output_config": st.fixed_dictionaries(
            {"effort": st.sampled_from(["low", "medium", "high", "xhigh", "max"])}
        ),
    }
    for name, strategy in optional.items():
        if draw(st.booleans()):
            body[name] = draw(strategy)
    if draw(st.booleans()):
        body["tools"] = draw(tools)
        choices = [{"type": kind} for kind in ("auto", "any", "none")]
        choices.append({"type": "tool", "name": body["tools"][0]["name"]})
        choice = draw(st.sampled_from(choices))
        if choice["type"] != "none" and draw(st.booleans()):
            choice = {**choice, "disable_parallel_tool_use": True}
        body["tool_choice"] = choice
    return body


def plain(body):
    """A body in one of the ways in which the same can be said: texts as blocks."""
    body = json.loads(json.dumps(body))
    if isinstance(body.get("system"), list):
        body["system"] = "".join(block["text"] for block in body["system"])
    for turn in body["messages"]:
        if isinstance(turn["content"], str):
            turn["content"] = [{"type": "text", "text": turn["content"]}]
        for block in turn["content"]:
            if isinstance(block.get("content"), list):
                block["content"] = "".join(part["text"] for part in block["content"])
    body.pop("thinking", None)  # the other side says with `adaptive` that an effort means thinking
    return body


@settings(max_examples=150, deadline=None)
@given(bodies())
def test_what_both_apis_can_say_comes_back_as_it_was(body):
    made = request_of(body, TARGET)
    assert made.notes.lines() == []
    back = Notes()
    again = chat_request(json.loads(orjson.dumps(made.body)), back, max_tokens=1)
    assert plain(again) == plain(body)
    assert orjson.dumps(request_of(again, TARGET).body) == orjson.dumps(made.body)


@settings(max_examples=60, deadline=None)
@given(bodies(), st.data())
def test_what_chat_cannot_say_is_in_the_notes_and_changes_nothing_else(body, data):
    unsayable = {
        "top_k": 5,
        "service_tier": "auto",
        "context_management": {"edits": []},
        "container": "c",
        "mcp_servers": [],
        "inference_geo": "eu",
        "speed": "fast",
        "invented_tomorrow": {"x": 1},
    }
    names_ = data.draw(st.lists(st.sampled_from(sorted(unsayable)), min_size=1, unique=True))
    mark = {"cache_control": {"type": "ephemeral"}}
    marked = json.loads(json.dumps(body))
    marked["messages"][0]["content"][0] |= mark
    thought = {"type": "thinking", "thinking": "hm", "signature": "EqQBCkYI"}
    for turn in marked["messages"]:
        if turn["role"] == "assistant":
            turn["content"].insert(0, thought)
    extra = {name: unsayable[name] for name in names_}
    made = request_of({**marked, **extra}, TARGET)
    wanted = {*names_, "messages.cache_control"}
    if any(turn["role"] == "assistant" for turn in body["messages"]):
        wanted.add("messages.thinking")
    assert made.notes.fields() == wanted
    assert orjson.dumps(made.body) == orjson.dumps(request_of(body, TARGET).body)


@st.composite
def answers(draw):
    """Messages that both APIs can tell."""
    text = draw(st.lists(texts, max_size=1))
    uses = draw(
        st.lists(
            st.fixed_dictionaries(
                {"type": st.just("tool_use"), "id": names, "name": names, "input": objects}
            ),
            max_size=3,
            unique_by=lambda use: use["id"],
        )
    )
    assume(text or uses)
    stop = draw(st.sampled_from(["tool_use"] if uses else ["end_turn", "max_tokens"]))
    prompt, cached = draw(st.integers(1, 10**6)), draw(st.integers(0, 10**6))
    usage = {
        "input_tokens": prompt,
        "cache_creation_input_tokens": draw(st.integers(0, 10**6)),
        "cache_read_input_tokens": cached,
        "output_tokens": draw(st.integers(1, 10**6)),
    }
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [*text, *uses],
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": usage,
    }


@settings(max_examples=150, deadline=None)
@given(answers())
def test_an_answer_comes_back_as_it_was(message):
    raw = ChatEncoder(ToolBook.of([]), include_usage=True).message(message)
    call = request_of({"model": "m", "max_tokens": 9, "messages": []}, TARGET)
    found = folded(ChatReader(call, "m").whole(json.loads(raw)))
    assert {**found, "id": "msg_1"} == message


def folded(events):
    """The message that events amount to."""
    message, pieces = {}, []
    for item in events:
        data = item.data
        match item.type:
            case "message_start":
                message = {**data["message"], "content": []}
            case "content_block_start":
                message["content"].append(dict(data["content_block"]))
                pieces = []
            case "content_block_delta" if data["delta"]["type"] == "text_delta":
                message["content"][-1]["text"] += data["delta"]["text"]
            case "content_block_delta":
                pieces.append(data["delta"]["partial_json"])
            case "content_block_stop" if pieces:
                message["content"][-1]["input"] = json.loads("".join(pieces))
            case "message_delta":
                message |= {**data["delta"], "usage": data["usage"]}
    return message
