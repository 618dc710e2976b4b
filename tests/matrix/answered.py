"""Answers in each API that have one feature, and what an answer says as facts.

A row has no answer in an API that cannot say such a thing.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from plugway_gemini_api._seal import opened
from tests.receipts.facts import Facts

Answer = dict[str, Any]
INPUT = {"path": "a.txt"}
URL = "https://example.com/weather"
WORDS = "It rains."

# ── writing ──────────────────────────────────────────────────────────────────────────────────────


def messages(*blocks: Answer, stop: str = "end_turn", **more: Any) -> Answer:
    """An answer of the Messages API."""
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m"}
    usage = {"input_tokens": 10, "output_tokens": 5}
    rest = {"stop_reason": stop, "stop_sequence": None, "usage": usage}
    return {**head, "content": [*blocks], **rest, **more}


def text(words: str = WORDS, **more: Any) -> Answer:
    return {"type": "text", "text": words, **more}


def use(id_: str, **given: str) -> Answer:
    return {"type": "tool_use", "id": id_, "name": "Read", "input": given}


def chat(content: str | None = WORDS, *calls: Answer, finish: str = "stop", **more: Any) -> Answer:
    """An answer of Chat Completions; members of `more` are those of its message, but `usage`."""
    usage = more.pop("usage", {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15})
    message = {"role": "assistant", "content": content, "refusal": None, **more}
    if calls:
        message["tool_calls"] = [*calls]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m"}
    return {**head, "choices": [choice], "usage": usage}


def chat_call(id_: str, **given: str) -> Answer:
    function = {"name": "Read", "arguments": json.dumps(given)}
    return {"id": id_, "type": "function", "function": function}


def response(*output: Answer, status: str = "completed", **more: Any) -> Answer:
    """An answer of the Responses API."""
    usage = {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 15,
    }
    head = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "error": None}
    rest = {"status": status, "incomplete_details": None, "usage": usage}
    return {**head, **rest, "output": [*output], **more}


def item(*parts: Answer) -> Answer:
    head = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed"}
    return {**head, "content": [*parts]}


def part(words: str = WORDS, *annotations: Answer) -> Answer:
    return {"type": "output_text", "text": words, "annotations": [*annotations]}


def item_call(id_: str, **given: str) -> Answer:
    head = {"type": "function_call", "id": f"fc_{id_}", "status": "completed"}
    return {**head, "call_id": id_, "name": "Read", "arguments": json.dumps(given)}


def gemini(
    *parts: Answer, finish: str = "STOP", usage: Answer | None = None, **more: Any
) -> Answer:
    """An answer of `generateContent`; `more` are members of its candidate."""
    content = {"role": "model", "parts": [*parts]}
    candidate = {"index": 0, "content": content, "finishReason": finish, **more}
    counts = {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}
    return {"candidates": [candidate], "usageMetadata": usage or counts, "modelVersion": "m"}


def gemini_call(id_: str, **given: str) -> Answer:
    return {"functionCall": {"id": id_, "name": "Read", "args": given}}


def engine(*ops: Any, stop: str = "end_turn", usage: Answer | None = None) -> Answer:
    """What the worker of a model on this machine says."""
    counts = {"input_tokens": 10, "output_tokens": 5, **(usage or {})}
    return {"ops": [["start", counts], *ops, ["end", stop, None, counts]]}


Rows = Mapping[str, Mapping[str, Answer]]
_WEB = {"type": "web_search_result_location", "url": URL, "title": "Weather"}
_URL_CITATION = {"start_index": 0, "end_index": 9, "url": URL, "title": "Weather"}
_SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search"}
_FOUND = {"type": "web_search_result", "url": URL, "title": "Weather"}

CONTENT: Rows = {
    "text": {
        "messages": messages(text()),
        "chat": chat(),
        "responses": response(item(part())),
        "gemini": gemini({"text": WORDS}),
        "engine": engine(["text", WORDS]),
    },
    "tool call": {
        "messages": messages(use("toolu_01Xyz", **INPUT), stop="tool_use"),
        "chat": chat(None, chat_call("call_01Xyz", **INPUT), finish="tool_calls"),
        "responses": response(item_call("call_01Xyz", **INPUT)),
        "gemini": gemini(gemini_call("fc_01Xyz", **INPUT)),
        "engine": engine(["tool", "Read", json.dumps(INPUT)], stop="tool_use"),
    },
    "parallel calls": {
        "messages": messages(
            use("toolu_01Xyz", **INPUT), use("toolu_02Uvw", path="b.txt"), stop="tool_use"
        ),
        "chat": chat(
            None,
            chat_call("call_01Xyz", **INPUT),
            chat_call("call_02Uvw", path="b.txt"),
            finish="tool_calls",
        ),
        "responses": response(
            item_call("call_01Xyz", **INPUT), item_call("call_02Uvw", path="b.txt")
        ),
        "gemini": gemini(gemini_call("fc_01Xyz", **INPUT), gemini_call("fc_02Uvw", path="b.txt")),
        "engine": engine(
            ["tool", "Read", json.dumps(INPUT)],
            ["tool", "Read", json.dumps({"path": "b.txt"})],
            stop="tool_use",
        ),
    },
    "thinking": {
        "messages": messages(
            {"type": "thinking", "thinking": "Hm, clouds.", "signature": "c2lnbmVk"}, text()
        ),
        "chat": chat(reasoning_content="Hm, clouds."),
        "responses": response(
            {
                "type": "reasoning",
                "id": "rs_1",
                "summary": [{"type": "summary_text", "text": "Hm, clouds."}],
                "encrypted_content": "gAAAA-1",
            },
            item(part()),
        ),
        "gemini": gemini({"text": "Hm, clouds.", "thought": True}, {"text": WORDS}),
    },
    "redacted thinking": {
        "messages": messages({"type": "redacted_thinking", "data": "b3BhcXVl"}, text()),
        "responses": response(
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA-1"},
            item(part()),
        ),
    },
    "web sources": {
        "messages": messages(
            text(citations=[{**_WEB, "cited_text": "rain", "encrypted_index": "aW5kZXg="}])
        ),
        "chat": chat(annotations=[{"type": "url_citation", "url_citation": _URL_CITATION}]),
        "responses": response(item(part(WORDS, {"type": "url_citation", **_URL_CITATION}))),
        "gemini": gemini(
            {"text": WORDS},
            citationMetadata={"citationSources": [{"startIndex": 0, "endIndex": 9, "uri": URL}]},
        ),
    },
    "document sources": {
        "messages": messages(
            text(
                citations=[
                    {
                        "type": "char_location",
                        "cited_text": "rain",
                        "document_index": 0,
                        "document_title": "notes.txt",
                        "start_char_index": 0,
                        "end_char_index": 4,
                    }
                ]
            )
        ),
    },
    "search by the vendor's servers": {
        "messages": messages(
            {**_SEARCH, "input": {"query": "weather"}},
            {
                "type": "web_search_tool_result",
                "tool_use_id": "srvtoolu_1",
                "content": [{**_FOUND, "encrypted_content": "b3BhcXVl", "page_age": None}],
            },
            text(),
        ),
        "responses": response(
            {
                "type": "web_search_call",
                "id": "ws_1",
                "status": "completed",
                "action": {
                    "type": "search",
                    "query": "weather",
                    "sources": [{"type": "url", "url": URL}],
                },
            },
            item(part()),
        ),
    },
    "refusal with its reason": {
        "messages": messages(
            stop="refusal",
            stop_details={"type": "refusal", "category": "cyber", "explanation": "Not that."},
        ),
        "chat": chat(None, refusal="Not that."),
        "responses": response(item({"type": "refusal", "refusal": "Not that."})),
        "gemini": gemini({"text": ""}, finish="SAFETY", finishMessage="Not that."),
    },
}

STOPS: Rows = {
    "`max_tokens`": {
        "messages": messages(text(), stop="max_tokens"),
        "chat": chat(finish="length"),
        "responses": response(
            item(part()), status="incomplete", incomplete_details={"reason": "max_output_tokens"}
        ),
        "gemini": gemini({"text": WORDS}, finish="MAX_TOKENS"),
        "engine": engine(["text", WORDS], stop="max_tokens"),
    },
    "context window is full": {
        "messages": messages(text(), stop="model_context_window_exceeded"),
        "engine": engine(["text", WORDS], stop="model_context_window_exceeded"),
    },
    "content filter": {
        "messages": messages(text(), stop="refusal"),
        "chat": chat(finish="content_filter"),
        "responses": response(
            item(part()), status="incomplete", incomplete_details={"reason": "content_filter"}
        ),
        "gemini": gemini({"text": WORDS}, finish="SAFETY"),
    },
    "turn to be continued": {
        "messages": messages(text(), stop="pause_turn"),
    },
}

USAGE: Rows = {
    "input and output tokens": {
        "messages": messages(text(), usage={"input_tokens": 71, "output_tokens": 9}),
        "chat": chat(usage={"prompt_tokens": 71, "completion_tokens": 9, "total_tokens": 80}),
        "responses": response(
            item(part()), usage={"input_tokens": 71, "output_tokens": 9, "total_tokens": 80}
        ),
        "gemini": gemini(
            {"text": WORDS}, usage={"promptTokenCount": 71, "candidatesTokenCount": 9}
        ),
        "engine": engine(["text", WORDS], usage={"input_tokens": 71, "output_tokens": 9}),
    },
    "cache read tokens": {
        "messages": messages(
            text(),
            usage={"input_tokens": 11, "cache_read_input_tokens": 60, "output_tokens": 9},
        ),
        "chat": chat(
            usage={
                "prompt_tokens": 71,
                "completion_tokens": 9,
                "total_tokens": 80,
                "prompt_tokens_details": {"cached_tokens": 60},
            }
        ),
        "responses": response(
            item(part()),
            usage={
                "input_tokens": 71,
                "input_tokens_details": {"cached_tokens": 60},
                "output_tokens": 9,
                "total_tokens": 80,
            },
        ),
        "gemini": gemini(
            {"text": WORDS},
            usage={
                "promptTokenCount": 71,
                "cachedContentTokenCount": 60,
                "candidatesTokenCount": 9,
            },
        ),
        "engine": engine(
            ["text", WORDS],
            usage={"input_tokens": 11, "cache_read_input_tokens": 60, "output_tokens": 9},
        ),
    },
    "cache write tokens": {
        "messages": messages(
            text(),
            usage={"input_tokens": 11, "cache_creation_input_tokens": 60, "output_tokens": 9},
        ),
        "chat": chat(
            usage={
                "prompt_tokens": 71,
                "completion_tokens": 9,
                "total_tokens": 80,
                "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 60},
            }
        ),
        "responses": response(
            item(part()),
            usage={
                "input_tokens": 71,
                "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 60},
                "output_tokens": 9,
                "total_tokens": 80,
            },
        ),
    },
    "thinking tokens": {
        "messages": messages(
            text(),
            usage={
                "input_tokens": 71,
                "output_tokens": 9,
                "output_tokens_details": {"thinking_tokens": 4},
            },
        ),
        "chat": chat(
            usage={
                "prompt_tokens": 71,
                "completion_tokens": 9,
                "total_tokens": 80,
                "completion_tokens_details": {"reasoning_tokens": 4},
            }
        ),
        "responses": response(
            item(part()),
            usage={
                "input_tokens": 71,
                "output_tokens": 9,
                "output_tokens_details": {"reasoning_tokens": 4},
                "total_tokens": 80,
            },
        ),
        "gemini": gemini(
            {"text": WORDS},
            usage={"promptTokenCount": 71, "candidatesTokenCount": 5, "thoughtsTokenCount": 4},
        ),
    },
}

ANSWERS: Mapping[str, Rows] = {
    "Reply content": CONTENT,
    "Stop reasons": STOPS,
    "Usage": USAGE,
}
"""The rows about answers, by section."""

# ── reading ──────────────────────────────────────────────────────────────────────────────────────


def _count(facts: Facts, **counts: Any) -> None:
    for name, value in counts.items():
        if value:
            facts[f"usage.{name}", str(value)] += 1


def _call(facts: Facts, id_: str, name: str, given: Any) -> None:
    given = json.loads(given) if isinstance(given, str) else given
    facts["call", json.dumps([id_, name, given], sort_keys=True)] += 1


def of_messages(answer: Answer) -> Facts:
    """An answer of the Messages API."""
    facts: Facts = Counter()
    for block in answer["content"]:
        match block["type"]:
            case "text":
                facts["text", block["text"]] += 1
                for cited in block.get("citations") or ():
                    facts["source", cited.get("url") or cited["document_title"]] += 1
            case "tool_use":
                _call(facts, block["id"], block["name"], block["input"])
            case "thinking":
                facts["thinking", block["thinking"]] += 1
            case "redacted_thinking":
                facts["thinking", "hidden"] += 1
            case "server_tool_use":
                facts["search", block["input"]["query"]] += 1
            case _:
                facts["found", ",".join(one["url"] for one in block["content"])] += 1
    facts["stop", answer["stop_reason"]] += 1
    if why := (answer.get("stop_details") or {}).get("explanation"):
        facts["refusal", why] += 1
    usage = answer["usage"]
    read, written = usage.get("cache_read_input_tokens"), usage.get("cache_creation_input_tokens")
    prompt = usage["input_tokens"] + (read or 0) + (written or 0)
    thought = usage.get("output_tokens_details", {}).get("thinking_tokens")
    _count(facts, prompt=prompt, answer=usage["output_tokens"])
    _count(facts, read=read, written=written, thought=thought)
    return facts


_FINISH = {
    "stop": "end_turn",
    "tool_calls": "tool_use",
    "length": "max_tokens",
    "content_filter": "refusal",
}


def of_chat(answer: Answer) -> Facts:
    """An answer of Chat Completions."""
    facts: Facts = Counter()
    (choice,) = answer["choices"]
    message = choice["message"]
    if message.get("content"):
        facts["text", message["content"]] += 1
    if message.get("reasoning_content"):
        facts["thinking", message["reasoning_content"]] += 1
    for call in message.get("tool_calls") or ():
        _call(facts, call["id"], call["function"]["name"], call["function"]["arguments"])
    for note in message.get("annotations") or ():
        facts["source", note["url_citation"]["url"]] += 1
    stop = _FINISH[choice["finish_reason"]]
    if message.get("refusal"):
        facts["refusal", message["refusal"]] += 1
        stop = "refusal"
    facts["stop", stop] += 1
    usage = answer["usage"]
    _count(facts, prompt=usage["prompt_tokens"], answer=usage["completion_tokens"])
    prompt, said = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    prompt, said = prompt or {}, said or {}
    _count(facts, read=prompt.get("cached_tokens"), written=prompt.get("cache_write_tokens"))
    _count(facts, thought=said.get("reasoning_tokens"))
    return facts


def of_responses(answer: Answer) -> Facts:
    """An answer of the Responses API."""
    facts: Facts = Counter()
    calls = False
    for found in answer["output"]:
        match found["type"]:
            case "message":
                for piece in found["content"]:
                    _part(facts, piece)
            case "function_call":
                calls = True
                _call(facts, found["call_id"], found["name"], found["arguments"])
            case "reasoning":
                words = "".join(one["text"] for one in found["summary"])
                facts["thinking", words or "hidden"] += 1
            case _:
                action = found["action"]
                facts["search", action["query"]] += 1
                facts["found", ",".join(one["url"] for one in action.get("sources", ()))] += 1
    reason = (answer.get("incomplete_details") or {}).get("reason")
    stops = {"max_output_tokens": "max_tokens", "content_filter": "refusal"}
    refused = any(feature == "refusal" for feature, _ in facts)
    facts["stop", stops.get(reason) or ("tool_use" if calls else "end_turn")] += not refused
    facts["stop", "refusal"] += refused
    usage = answer["usage"]
    prompt = usage.get("input_tokens_details") or {}
    said = usage.get("output_tokens_details") or {}
    _count(facts, prompt=usage["input_tokens"], answer=usage["output_tokens"])
    _count(facts, read=prompt.get("cached_tokens"), written=prompt.get("cache_write_tokens"))
    _count(facts, thought=said.get("reasoning_tokens"))
    return +facts


def _part(facts: Facts, piece: Answer) -> None:
    if piece["type"] == "refusal":
        facts["refusal", piece["refusal"]] += 1
        return
    facts["text", piece["text"]] += 1
    for note in piece.get("annotations", ()):
        facts["source", note.get("url") or note["filename"]] += 1


_GEMINI_STOPS = {"STOP": "end_turn", "MAX_TOKENS": "max_tokens", "SAFETY": "refusal"}


def of_gemini(answer: Answer) -> Facts:
    """An answer of `generateContent`."""
    facts: Facts = Counter()
    (candidate,) = answer["candidates"]
    stop = _GEMINI_STOPS[candidate["finishReason"]]
    for piece in candidate["content"]["parts"]:
        for block, _ in opened(piece.get("thoughtSignature")) or ():
            facts["thinking", "hidden"] += block["type"] == "redacted_thinking"
        if call := piece.get("functionCall"):
            _call(facts, call["id"], call["name"], call["args"])
            stop = "tool_use"
        elif piece["text"]:
            facts["thinking" if piece.get("thought") else "text", piece["text"]] += 1
    for cited in candidate.get("citationMetadata", {}).get("citationSources", ()):
        facts["source", cited["uri"]] += 1
    _grounded(facts, candidate.get("groundingMetadata", {}))
    if why := candidate.get("finishMessage"):
        facts["refusal", why] += 1
    facts["stop", stop] += 1
    usage = answer["usageMetadata"]
    thought = usage.get("thoughtsTokenCount", 0)
    _count(facts, prompt=usage["promptTokenCount"], thought=thought)
    _count(facts, answer=usage["candidatesTokenCount"] + thought)
    _count(facts, read=usage.get("cachedContentTokenCount"))
    return +facts


def _grounded(facts: Facts, metadata: Answer) -> None:
    """Sources that texts rest on, searches, and what they found."""
    chunks = [
        chunk["web"]["uri"] if "web" in chunk else chunk["retrievedContext"]["title"]
        for chunk in metadata.get("groundingChunks", ())
    ]
    cited = {
        index
        for support in metadata.get("groundingSupports", ())
        for index in support["groundingChunkIndices"]
    }
    for index in cited:
        facts["source", chunks[index]] += 1
    for query in metadata.get("webSearchQueries", ()):
        facts["search", query] += 1
    if found := [where for index, where in enumerate(chunks) if index not in cited]:
        facts["found", ",".join(found)] += 1


def of_engine(answer: Answer) -> Facts:
    """What the worker of a model on this machine says: its calls have no ids."""
    made = messages()
    for op in answer["ops"]:
        match op:
            case ["text", words]:
                made["content"].append(text(words))
            case ["tool", name, given]:
                made["content"].append(
                    {"type": "tool_use", "id": "", "name": name, "input": json.loads(given)}
                )
            case ["end", stop, _, usage]:
                made |= {"stop_reason": stop, "usage": usage}
    return of_messages(made)


READERS = {
    "messages": of_messages,
    "chat": of_chat,
    "responses": of_responses,
    "gemini": of_gemini,
    "engine": of_engine,
}
"""By the API that an answer is in."""
