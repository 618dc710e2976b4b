"""Answers of the Responses API as its reference documents them, and small helpers to read ours."""

import copy
from itertools import count

from plugway_openai_wire.responses import Reader, ReplyContext
from plugway_translation import IdCodec, Reasoning, ToolNames
from plugway_wire.emitter import Order
from plugway_wire.events import collect

REASONING = Reasoning.of("openai", "gpt-5")
USAGE = {
    "input_tokens": 100,
    "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10},
    "output_tokens": 50,
    "output_tokens_details": {"reasoning_tokens": 20},
    "total_tokens": 150,
}

CITED = {
    "type": "output_text",
    "text": "It rains. [1]",
    "annotations": [
        {
            "type": "url_citation",
            "start_index": 0,
            "end_index": 9,
            "url": "https://weather.example.com",
            "title": "Weather",
        }
    ],
}


def message(*parts, id="msg_1", status="completed"):
    content = [
        {"type": "output_text", "text": p, "annotations": []} if isinstance(p, str) else p
        for p in parts
    ]
    role = {"role": "assistant", "status": status}
    return {"type": "message", "id": id, **role, "content": content}


def call(name, arguments, call_id="call_1", id="fc_1", status="completed"):
    kind = {"type": "function_call", "id": id, "status": status}
    return {**kind, "call_id": call_id, "name": name, "arguments": arguments}


def reasoning(*summary, id="rs_1", encrypted="gAAAA-secret", content=()):
    item = {"type": "reasoning", "id": id}
    item["summary"] = [{"type": "summary_text", "text": text} for text in summary]
    if content:
        item["content"] = [{"type": "reasoning_text", "text": text} for text in content]
    if encrypted:
        item["encrypted_content"] = encrypted
    return item


def response(*output, status="completed", usage=USAGE, **more):
    head = {"id": "resp_0a1", "object": "response", "created_at": 1, "model": "gpt-5"}
    usage = copy.deepcopy(usage)  # the caller may change it
    return {**head, "status": status, "output": list(output), "usage": usage, "error": None, **more}


def stream(answer, chop=3):
    """The events that the API would send for a finished answer, in its order."""
    number = count()
    bare = {**answer, "status": "in_progress", "output": [], "usage": None}
    yield _event("response.created", number, response=bare)
    yield _event("response.in_progress", number, response=bare)
    for index, item in enumerate(answer["output"]):
        yield from item_events(item, index, number, chop)
    kind = "response.incomplete" if answer["status"] == "incomplete" else "response.completed"
    yield _event(kind, number, response=answer)


def item_events(item, index, number, chop=3):
    at = {"output_index": index, "item_id": item["id"]}
    tell = {"message": _message, "function_call": _call, "reasoning": _reasoning}.get(
        item["type"], _nothing
    )
    empty = {"message": {"content": []}, "function_call": {"arguments": ""}}
    started = {**item, "status": "in_progress", **empty.get(item["type"], {"summary": []})}
    yield _event("response.output_item.added", number, output_index=index, item=started)
    yield from tell(item, at, number, chop)
    yield _event("response.output_item.done", number, output_index=index, item=item)


def _message(item, at, number, chop):
    for index, part in enumerate(item["content"]):
        here = {**at, "content_index": index}
        name = "refusal" if part["type"] == "refusal" else "output_text"
        text = part.get("refusal") or part.get("text")
        blank = {**part, "annotations": [], "refusal" if name == "refusal" else "text": ""}
        yield _event("response.content_part.added", number, **here, part=blank)
        for piece in chopped(text, chop):
            yield _event(f"response.{name}.delta", number, **here, delta=piece, logprobs=[])
        for n, annotation in enumerate(part.get("annotations") or ()):
            kind = "response.output_text.annotation.added"
            yield _event(kind, number, **here, annotation_index=n, annotation=annotation)
        done = {"refusal" if name == "refusal" else "text": text}
        yield _event(f"response.{name}.done", number, **here, **done)
        yield _event("response.content_part.done", number, **here, part=part)


def _call(item, at, number, chop):
    for piece in chopped(item["arguments"], chop):
        yield _event("response.function_call_arguments.delta", number, **at, delta=piece)
    done = "response.function_call_arguments.done"
    yield _event(done, number, **at, arguments=item["arguments"], name=item["name"])


def _reasoning(item, at, number, chop):
    for index, part in enumerate(item["summary"]):
        here = {**at, "summary_index": index}
        blank = {"type": "summary_text", "text": ""}
        yield _event("response.reasoning_summary_part.added", number, **here, part=blank)
        for piece in chopped(part["text"], chop):
            yield _event("response.reasoning_summary_text.delta", number, **here, delta=piece)
        done = "response.reasoning_summary_text.done"
        yield _event(done, number, **here, text=part["text"])
        yield _event("response.reasoning_summary_part.done", number, **here, part=part)
    for index, part in enumerate(item.get("content") or ()):
        for piece in chopped(part["text"], chop):
            kind = "response.reasoning_text.delta"
            yield _event(kind, number, **at, content_index=index, delta=piece)


def _nothing(item, at, number, chop):
    return ()


def chopped(text, size):
    return [text[at : at + size] for at in range(0, len(text), size)]


def _event(kind, number, **data):
    return {"type": kind, "sequence_number": next(number), **data}


def reader(names=(), stops=(), estimate=0):
    tools = ToolNames(names)
    return Reader(ReplyContext("the-model", tools, IdCodec(), REASONING, tuple(stops), estimate))


def read(events, **more):
    """All events that a reader makes of `events`."""
    made = reader(**more)
    return [told for data in events for told in made.feed(data)]


def message_of(events):
    """The message that legal events of ours make up."""
    order = Order()
    for item in events:
        order.check(item)
    assert order.ended

    async def each():
        for item in events:
            yield item

    try:  # nothing is waited for, so that no loop is needed
        collect(each()).send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")
