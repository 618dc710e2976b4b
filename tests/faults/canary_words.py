"""Conversations with a unique word in each part, an upstream that quotes them in each way in which a
reply can be wrong, and a search for the words in all encodings."""

from __future__ import annotations

import base64
import re
from urllib.parse import quote

import orjson

from plugway.testing import anthropic_message, anthropic_stream, respond, sse
from plugway_openai_wire.testing import chat_chunks, data

WORDS = {
    name: f"zq{name}canary"
    for name in (
        "system", "prompt", "result", "argument", "path", "key", "title", "schema", "stop", "user",
        "thought", "answer", "called", "value", "broken", "late", "mime", "header", "beta", "kind",
        "context", "format", "enum", "ident", "raised",
    )
}  # fmt: skip


def _forms(word):
    raw = word.encode()
    yield word
    yield raw.hex()
    yield "".join(f"\\u{byte:04x}" for byte in raw)
    yield "".join(f"%{byte:02X}" for byte in raw)
    yield quote(word, safe="")
    for before in range(3):  # base64 of a text depends on where in it the word begins
        whole = base64.b64encode(bytes(before) + raw).decode()
        yield whole[-(-before * 4 // 3) : len(whole) - 4]


_ANY = re.compile("|".join({re.escape(form) for word in WORDS.values() for form in _forms(word)}))


def found_in(text):
    """The places where a word occurs, with the text around it."""
    return sorted(
        {text[max(0, m.start() - 90) : m.end() + 30] for m in _ANY.finditer(text)}, key=len
    )


READ = {
    "name": "Read",
    "description": f"Reads {WORDS['schema']}.",
    "input_schema": {
        "type": "object",
        "description": WORDS["schema"],
        "properties": {
            "file_path": {"type": "string", "pattern": f"^/(?!{WORDS['schema']})"},
            "mode": {"type": "string", "enum": [WORDS["enum"], "b"], "format": WORDS["format"]},
            "limit": {"type": "integer", "default": WORDS["schema"], "$comment": WORDS["schema"]},
            "more": {"$ref": f"#/$defs/{WORDS['schema']}"},
        },
        "required": ["file_path"],
    },
}
WRONG = {"file_path": 5, "mode": WORDS["called"], "limit": WORDS["called"], WORDS["value"]: 1}
SPOKEN = f'<tool_call>\n{{"name": "Read", "arguments": {{"limit": {WORDS["called"]}}}\n</tool_call>'
HEADERS = {"x-custom": WORDS["header"], "anthropic-beta": f"{WORDS['beta']},context-1m-2025-08-07"}


def question(model, **fields):
    """An agent's conversation."""
    w = WORDS
    call = {"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {
        "file_path": f"/home/{w['path']}/x.py", "limit": w["argument"]}}  # fmt: skip
    lost = {"type": "tool_use", "id": w["ident"], "name": "Read", "input": {"x": w["argument"]}}
    image = {"type": "base64", "media_type": f"image/{w['mime']}", "data": "AAAA"}
    file = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}
    asked = [
        {"type": "text", "text": f"{w['prompt']} {w['key']} /home/{w['path']}/x.py"},
        {"type": "image", "source": image},
        {"type": "document", "title": w["title"], "context": w["context"], "source": file},
        {"type": w["kind"], "text": w["prompt"]},
    ]
    thinking = {"type": "thinking", "thinking": w["thought"], "signature": "YWJj"}
    answered = {"type": "tool_result", "tool_use_id": "toolu_1", "content": w["result"]}
    stray = {"type": "tool_result", "tool_use_id": f"{w['ident']}2", "content": w["result"]}
    return {
        "model": model,
        "max_tokens": 8,
        "system": f"You help. {w['system']}",
        "messages": [
            {"role": "user", "content": asked},
            {"role": "assistant", "content": [thinking, call, lost]},
            {"role": "user", "content": [stray, {**answered, "is_error": True}]},
        ],
        "tools": [READ, {"type": f"{w['kind']}_20250101", "name": "odd"}],
        "stop_sequences": [w["stop"]],
        "metadata": {"user_id": w["user"]},
        **fields,
    }


def chat(model, **fields):
    """The same in OpenAI's Chat API, as far as possible."""
    w = WORDS
    function = {"name": "Read", "arguments": orjson.dumps({"limit": w["argument"]}).decode()}
    called = [{"id": "call_1", "type": "function", "function": function}]
    described = {k: READ[k] for k in ("name", "description")} | {"parameters": READ["input_schema"]}
    return {
        "model": model,
        "messages": [
            {"role": "system", "content": w["system"]},
            {"role": "user", "content": w["prompt"]},
            {"role": "assistant", "content": w["thought"], "tool_calls": called},
            {"role": "tool", "tool_call_id": "call_1", "content": w["result"]},
        ],
        "tools": [{"type": "function", "function": described}],
        "user": w["user"],
        "stop": [w["stop"]],
        **fields,
    }


def response(model, **fields):
    """The same in OpenAI's Responses API."""
    w = WORDS
    call = {"type": "function_call", "call_id": "c1", "name": "Read", "arguments": "{}"}
    described = {k: READ[k] for k in ("name", "description")} | {"parameters": READ["input_schema"]}
    return {
        "model": model,
        "instructions": w["system"],
        "input": [
            {"role": "user", "content": w["prompt"]},
            {"type": w["kind"], "content": w["prompt"]},
            {**call, "arguments": orjson.dumps({"limit": w["argument"]}).decode()},
            {"type": "function_call_output", "call_id": "c1", "output": w["result"]},
        ],
        "include": [w["kind"]],
        "tools": [{"type": "function", **described}, {"type": w["kind"]}],
        "metadata": {"a": w["user"]},
        **fields,
    }


def gemini(**fields):
    """The same in Google's API."""
    w = WORDS
    image = {"inlineData": {"mimeType": f"image/{w['mime']}", "data": "AAAA"}}
    film = {"fileData": {"mimeType": f"video/{w['mime']}", "fileUri": f"gs://{w['path']}"}}
    signed = {"functionCall": {"name": "Read", "args": {"limit": w["argument"]}}}
    stray = {"functionResponse": {"name": w["ident"], "response": {"output": w["result"]}}}
    answered = {"functionResponse": {"name": "Read", "response": {"error": w["result"]}}}
    described = {k: READ[k] for k in ("name", "description")}
    described["parametersJsonSchema"] = READ["input_schema"]
    thought = {"text": w["thought"], "thought": True}
    return {
        "systemInstruction": {"parts": [{"text": w["system"]}, {w["kind"]: {}}]},
        "contents": [
            {"role": "user", "parts": [{"text": w["prompt"]}, image, film, {w["kind"]: {}}]},
            {"role": "model", "parts": [thought, {**signed, "thoughtSignature": w["kind"]}]},
            {"role": "user", "parts": [stray, answered]},
        ],
        "tools": [{"functionDeclarations": [described]}, {w["kind"]: {}}],
        "generationConfig": {"stopSequences": [w["stop"]], "maxOutputTokens": 8},
        **fields,
    }


def malformed(model):
    """Requests that the gateway refuses, each with a word in the invalid part."""
    w = WORDS["broken"]
    turn = {"role": "user", "content": w}
    base = {"model": model, "max_tokens": 8, "messages": [turn]}
    yield {**base, "messages": w}
    yield {**base, "messages": [w]}
    yield {**base, "messages": [{"role": w, "content": w}]}
    yield {**base, "messages": [{"role": "user", "content": [w]}]}
    yield {**base, "messages": [{"role": "user", "content": [{"type": "text", "text": {w: w}}]}]}
    yield {**base, "messages": [{"role": "user", "content": [{"type": "image", "source": w}]}]}
    for field in ("max_tokens", "temperature", "top_p", "stop_sequences", "thinking", "metadata"):
        yield {**base, field: w}
    yield {**base, "temperature": w, "stream": w}
    yield {**base, "system": [w]}
    yield {**base, "tools": [w], "tool_choice": {"type": w}}
    yield {**base, "tools": [READ], "tool_choice": {"type": "tool", "name": w}}
    yield {**base, "output_config": {"format": {"type": w}, "effort": w}}
    yield {**base, "context_management": {"edits": [{"type": w, "trigger": w}]}}


def broken(body):
    """Bytes that are not a JSON object, with a word at the place of the error."""
    raw = orjson.dumps(body)
    word = WORDS["broken"].encode()
    yield raw[: raw.index(b"tools") + 12]
    yield raw[:-1] + b',"x":' + word + b"}"
    yield raw[:-1] + b',"max_tokens":"' + word + b'","max_tokens":3}'
    yield raw[:-1] + b',"' + word + b'":1,"' + word + b'":2}'
    yield raw[:-1] + b',"x":"' + word + b'\\ud800"}'
    yield raw[:-1] + b',"x":"\\' + word + b'"}'
    yield b'"' + word + b'"'


class Quoting:
    """An upstream that repeats what it received, in each way in which a reply can be wrong."""

    MODES = 16

    def __init__(self):
        self.mode = 0

    def __call__(self, request):
        if request.method == "GET" or "show" in request.path:
            return respond(200, {"data": [{"id": "m"}], "models": []})
        self.mode += 1
        said = request.body.decode("utf-8", "replace")
        return self._refusal(said) or self._odd(said) or self._answer(request)

    def _refusal(self, said):
        word = WORDS["prompt"] if WORDS["prompt"] in said else "it"
        match self.mode % self.MODES:
            case 0:
                return respond(400, {"error": {"type": "invalid_request_error", "message": said}})
            case 1:
                return respond(500, {"error": said})
            case 2:
                return respond(422, [{"detail": [{"msg": said, "input": said}]}])
            case 3:
                return respond(404, said.encode(), {"content-type": "text/html"})
            case 4:
                return respond(429, {"error": {"message": said, "type": word, "code": word}})
            case 5:
                return respond(401, {"error": {"message": f"no key, but {said}"}})
            case 6:
                return respond(302, said.encode(), {"location": f"/{word}"})
        return None

    def _odd(self, said):
        word = WORDS["answer"] if WORDS["prompt"] in said else "it"
        match self.mode % self.MODES:
            case 7:
                return respond(200, said.encode(), {"content-type": "text/plain"})
            case 8:
                error = {"type": "error", "error": {"type": "overloaded_error", "message": said}}
                return sse([("error", error)])
            case 9:
                return sse([data({"error": {"message": said, "code": 503}})])
            case 10:
                return sse([f'data: {{"type":"{word}'.encode(), b"\n\n", said.encode()])
            case 11:
                return sse([f"event: {word}\ndata: {{{word}\n\n".encode()])
            case 12:
                events = anthropic_stream(word)
                return sse([*events[:3], (word, {"type": word, "index": word, "delta": said})])
        return None

    def _answer(self, request):
        """A reply with an invalid call, in the API of the request."""
        stream = b'"stream":true' in request.body.replace(b" ", b"")
        call = ("Read", WRONG) if self.mode % 2 else None
        text = WORDS["answer"] if call else SPOKEN
        if "completions" in request.path:
            calls = [("c1", "Read", orjson.dumps(WRONG).decode())] if call else []
            return sse([*map(data, chat_chunks(text, tool_calls=calls)), b"data: [DONE]\n\n"])
        calls = [call] if call else []
        if stream:
            return sse(anthropic_stream(text, tool_calls=calls, thinking=WORDS["thought"]))
        return respond(200, anthropic_message(text, tool_calls=calls))
