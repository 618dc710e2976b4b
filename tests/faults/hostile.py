"""Requests and replies that are meant to be expensive."""

from __future__ import annotations

import json
from itertools import cycle, islice

from plugway_toolcalls.marks import ALL
from tests.faults.answers import event, streamed, whole

MIB = 2**20
RUNS = [
    *"x \n\"'\\{}[]()<>`:,|*#/@é😀\0",
    "\\n",
    "<|",
    "[]",
    "{}",
    "[{",
    '{"a":',
    "</",
    "/*",
    "\r\n",
]
"""Text that is repeated."""
BEGUN = [
    '<tool_call>{"name": "Read", "arguments": {"path": "',
    '<tool_call>{"name": "Read", ',
    "<function=Read><parameter=path>",
    "<tool_call>Read<arg_key>",
    "[TOOL_CALLS]Read[ARGS]{",
    '{"name": "Read", "arguments": {"path": "',
    "<|channel|>commentary to=Read<|message|>{",
    '```json\n{"name": "Read", "arguments": {',
    "<think>",
]
"""Calls and thoughts that never end."""


def long(text, size):
    """`text` repeated to about `size` characters."""
    return text * (size // len(text))


def texts(size, step=1):
    """Every kind of text; `step` leaves out some of the markers."""
    yield from ((f"a run of {run!r}", long(run, size)) for run in RUNS)
    yield from ((f"a run of {mark!r}", long(mark, size)) for mark in sorted(ALL)[::step])
    for start in BEGUN:
        for run in ("x", "\\n", "{", '"', "é", "<"):
            yield f"{start!r} and {run!r} without end", start + long(run, size)


def values(size):
    """JSON values of about `size` bytes, as bytes."""
    yield "empty lists", b"[" + b"[]," * (size // 3) + b"0]"
    yield "numbers", b"[" + b"1," * (size // 2) + b"0]"
    yield "empty texts", b"[" + b'"",' * (size // 3) + b"0]"
    keys = b",".join(b'"%d":0' % number for number in range(size // 9))
    yield "keys", b"{" + keys + b"}"
    yield "objects", b"[" + b'{"a":{}},' * (size // 9) + b"0]"
    told = b'"' + b"model " * 1300 + b'",'
    yield "many texts of an error", b'{"error":[' + told * (size // len(told) + 1) + b"0]}"
    yield "quotes in a text", b'"' + b'\\"' * (size // 2) + b'"'
    yield "escapes in a text", b'"' + b"\\u00e9" * (size // 6) + b'"'
    yield "pairs of surrogates", b'"' + b"\\ud83d\\ude00" * (size // 12) + b'"'
    yield "commas and brackets in a text", b'"' + b",[{:" * (size // 4) + b'"'
    yield "a long text", b'"' + b"x" * size + b'"'
    yield "a long text beyond ASCII", b'"' + "é".encode() * (size // 2) + b'"'
    yield "a deep list", b"[" * (size // 2) + b"]" * (size // 2)
    yield "a deep list that is not closed", b"[" * size
    yield "deep objects", b'{"a":' * (size // 6) + b"1" + b"}" * (size // 6)
    yield "as deep as may be", b"[" + b",".join([b"[" * 200 + b"]" * 200] * (size // 401)) + b"]"
    yield "a number with very many digits", b"9" * size
    yield "a fraction with very many digits", b"0." + b"1" * size
    yield "white space", b" " * size + b"0"
    yield "a text that is not closed", b'"' + b"x" * size
    yield "bytes that are no UTF-8", b'"' + b"\xff" * size + b'"'


SCHEMA = {"type": "object", "properties": {"path": {"type": "string"}}}


def _tool(name, schema=SCHEMA):
    return {"name": name, "description": "d", "input_schema": schema}


def _pairs(count):
    for number in range(count):
        call = {"type": "tool_use", "id": f"toolu_{number}", "name": "Read", "input": {"path": "x"}}
        result = {"type": "tool_result", "tool_use_id": f"toolu_{number}", "content": "ok"}
        yield {"role": "assistant", "content": [call]}
        yield {"role": "user", "content": [result]}


def _turns(count):
    roles = cycle(("user", "assistant"))
    return [{"role": role, "content": "x"} for role in islice(roles, count)]


def _nested(depth):
    schema = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


def requests(values):
    """Fields of Messages requests with about as many JSON values."""

    def count(each):
        return int(values * 0.95 / each)

    hi = [{"role": "user", "content": "hi"}]
    yield "very many turns", {"messages": _turns(count(3) | 1)}
    yield "very many calls", {"messages": [*hi, *_pairs(count(17))], "tools": [_tool("Read")]}
    blocks = [{"type": "text", "text": "x"}] * count(3)
    yield "very many blocks", {"messages": [{"role": "user", "content": blocks}]}
    yield "very many system blocks", {"messages": hi, "system": blocks}
    yield (
        "very many tools",
        {"messages": hi, "tools": [_tool(f"t{n}") for n in range(count(9))]},
    )
    wide = {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(count(3))}}
    yield "a wide schema", {"messages": hi, "tools": [_tool("Read", wide)]}
    yield "a deep schema", {"messages": hi, "tools": [_tool("Read", _nested(80))]}
    either = {"anyOf": [SCHEMA] * count(6)}
    yield "a schema of very many ways", {"messages": hi, "tools": [_tool("Read", {"type": "object", "properties": {"a": either}})]}  # fmt: skip
    doubling = {"$defs": {f"d{n}": {"type": "object", "properties": {"a": {"$ref": f"#/$defs/d{n + 1}"}, "b": {"$ref": f"#/$defs/d{n + 1}"}}} for n in range(40)} | {"d40": {"type": "string"}}, "$ref": "#/$defs/d0", "type": "object"}  # fmt: skip
    yield "a schema that doubles", {"messages": hi, "tools": [_tool("Read", doubling)]}
    enum = {"type": "object", "properties": {"a": {"enum": [f"v{n}" for n in range(count(1))]}}}
    yield "a schema with very many values", {"messages": hi, "tools": [_tool("Read", enum)]}
    pattern = {
        "type": "object",
        "properties": {"a": {"type": "string", "pattern": "(a+)+" * 100_000}},
    }
    yield "a schema with a long pattern", {"messages": hi, "tools": [_tool("Read", pattern)]}
    yield "very many stop sequences", {"messages": hi, "stop_sequences": [f"s{n}" for n in range(count(1))]}  # fmt: skip
    yield "a long model name", {"messages": hi, "model": "m" * 10 * MIB}
    yield "a long user id", {"messages": hi, "metadata": {"user_id": "u" * 10 * MIB}}
    image = {"type": "base64", "media_type": "image/png", "data": "iVBORw0K" * 3 * MIB}
    yield "a large image", {"messages": [{"role": "user", "content": [{"type": "image", "source": image}]}]}  # fmt: skip
    images = [{"type": "image", "source": {**image, "data": "iVBORw0K"}}] * count(8)
    yield "very many images", {"messages": [{"role": "user", "content": images}]}
    call = {
        "type": "tool_use",
        "id": "toolu_1",
        "name": "Bash",
        "input": {"command": "a;" * 2 * MIB},
    }
    yield "a long command", {"messages": [*hi, {"role": "assistant", "content": [call]}, {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "ok"}]}], "tools": [_tool("Bash")]}  # fmt: skip
    yield "lone results", {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": f"t{n}", "content": "x"} for n in range(count(4))]}]}  # fmt: skip


def as_chat(body):
    """A similar request of a client of Chat Completions."""
    told = {k: v for k, v in body.items() if k in {"model", "max_tokens", "stream"}}
    messages = []
    for turn in body["messages"]:
        content = turn["content"]
        blocks = content if isinstance(content, list) else []
        calls = [b for b in blocks if b.get("type") == "tool_use"]
        results = [b for b in blocks if b.get("type") == "tool_result"]
        if calls:
            made = [{"id": c["id"], "type": "function", "function": {"name": c["name"], "arguments": json.dumps(c["input"])}} for c in calls]  # fmt: skip
            messages.append({"role": "assistant", "content": None, "tool_calls": made})
        elif results:
            messages += [{"role": "tool", "tool_call_id": r["tool_use_id"], "content": "x"} for r in results]  # fmt: skip
        else:
            messages.append({"role": turn["role"], "content": _chat_content(content)})
    if "tools" in body:
        told["tools"] = [{"type": "function", "function": {"name": t["name"], "parameters": t["input_schema"]}} for t in body["tools"]]  # fmt: skip
    if "stop_sequences" in body:
        told["stop"] = body["stop_sequences"]
    return {**told, "messages": messages}


def _chat_content(content):
    if not isinstance(content, list):
        return content
    return [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{b['source']['data']}"}}
        if b["type"] == "image"
        else b
        for b in content
    ]


def as_responses(body):
    """A similar request of a client of the Responses API."""
    chat = as_chat(body)
    items = []
    for turn in chat["messages"]:
        if turn["role"] == "tool":
            items.append({"type": "function_call_output", "call_id": turn["tool_call_id"], "output": "x"})  # fmt: skip
        elif turn.get("tool_calls"):
            items += [{"type": "function_call", "call_id": c["id"], **c["function"]} for c in turn["tool_calls"]]  # fmt: skip
        else:
            kind = "output_text" if turn["role"] == "assistant" else "input_text"
            content = turn["content"]
            parts = content if isinstance(content, list) else [{"type": kind, "text": content}]
            parts = [p if "image_url" in p else {**p, "type": kind} for p in parts]
            parts = [{"type": "input_image", "image_url": p["image_url"]["url"]} if "image_url" in p else p for p in parts]  # fmt: skip
            items.append({"type": "message", "role": turn["role"], "content": parts})
    told = {"model": body["model"], "stream": body.get("stream", False), "input": items}
    if "tools" in chat:
        told["tools"] = [{"type": "function", **t["function"]} for t in chat["tools"]]
    return told


def raw_streams(size):
    """Bytes of an event stream that belong to no API."""
    yield "a line without end", b"data: " + b"x" * size
    yield "a line without end in a text", b'data: {"type": "ping", "a": "' + b"x" * size
    yield "line ends", b"\n" * size
    yield "carriage returns", b"\r" * size
    yield "both", b"\r\n" * (size // 2)
    yield "comments", b":\n" * (size // 2)
    yield "comments of their own", b": hi\n\n" * (size // 6)
    yield "empty data", b"data:\n" * (size // 6)
    yield "empty events", b"data: {}\n\n" * (size // 10)
    yield "pings", event({"type": "ping"}, "ping") * (size // 40)
    yield "unknown events", event({"type": "news"}, "news") * (size // 40)
    yield "names", b"event: message_start\n" * (size // 21)
    yield "zeros", b"\0" * size
    yield "done", b"data: [DONE]\n\n" * (size // 14)


def odd_answers(api, size):
    """Streams of one API with very many items of one kind."""
    yield "one character at a time", streamed(api, text=list("x" * (size // 100)))
    yield (
        "one call after the other",
        streamed(api, calls=[("Read", '{"path": "x"}')] * (size // 800)),
    )
    yield "a long argument", streamed(api, calls=[("Read", json.dumps({"path": "x" * size}))])
    yield "an argument with very many keys", streamed(api, calls=[("Read", json.dumps({f"k{n}": n for n in range(size // 20)}))])  # fmt: skip
    deep = "[" * 200 + "]" * 200
    yield "a deep argument", streamed(api, calls=[("Read", '{"path": ' + deep + "}")])
    yield "a long thought", streamed(api, thinking=("hm" * 50 + " ") * (size // 101))


def odd_wholes(api, size):
    """Complete replies of one API with very many items of one kind."""
    yield "a long text", whole(api, text="x" * size)
    yield "very many calls", whole(api, calls=[("Read", '{"path": "x"}')] * (size // 200))
    yield "a long argument", whole(api, calls=[("Read", json.dumps({"path": "x" * size}))])
    yield "an argument with very many keys", whole(api, calls=[("Read", json.dumps({f"k{n}": n for n in range(size // 20)}))])  # fmt: skip
