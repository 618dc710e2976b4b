"""A model that says what a test wants, and a runner whose tools do what a test wants."""

import asyncio
import json

from plugway import Attempt, MessagesRequest, Reply, as_list, event
from plugway.testing import anthropic_message, anthropic_stream
from plugway_tools import ToolResult
from plugway_tools.loop import Hidden, Limits, Loop
from plugway_wire.events import StreamEvent, collected

ASKED = {"model": "m", "max_tokens": 99, "messages": [{"role": "user", "content": "hi"}]}


class Backend:
    name, zone = "up", "local"


class Model:
    """Each turn is a text and calls, an exception, a list of events or a reply; the last one is
    said for ever."""

    def __init__(self, *turns, stream=True):
        self.turns = list(turns)
        self.stream = stream
        self.asked = []
        self.closed = 0
        self.exhausted = False
        """Whether the first stream was read to its end."""

    async def __call__(self, request, attempt):
        self.asked.append(json.loads(request.raw))
        turn = self.turns.pop(0) if len(self.turns) > 1 else self.turns[0]
        if isinstance(turn, Exception):
            raise turn
        if isinstance(turn, Reply):
            return turn
        if isinstance(turn, list):
            return Reply.streamed(self._events(turn), close=self._close)
        return self._said(*turn)

    def _said(self, text, calls=()):
        number = len(self.asked)
        if not self.stream:
            made = json.dumps(anthropic_message(text, tool_calls=calls))
            return Reply.message(json.loads(made.replace("toolu_0", f"toolu_{number}")))
        made = json.dumps(anthropic_stream(text, tool_calls=calls))
        made = json.loads(made.replace("toolu_0", f"toolu_{number}"))
        return Reply.streamed(
            self._events([StreamEvent(name, data) for name, data in made]), close=self._close
        )

    async def _events(self, items):
        for item in items:
            if isinstance(item, Exception):
                raise item
            if isinstance(item, asyncio.Event):
                await item.wait()
            else:
                yield item
        self.exhausted = self.exhausted or len(self.asked) == 1

    async def _close(self):
        self.closed += 1


class Tools:
    """Runs every tool whose name starts with `our`. `acts` are functions by name."""

    def __init__(self, *, parallel=True, changes=False, **acts):
        self.tool = Hidden(parallel=parallel, changes=changes)
        self.acts = acts
        self.ran = []

    def hidden(self, name):
        return self.tool if name.startswith("our") else None

    def before(self, call):
        return [{"type": "thinking", "thinking": f"running {call.name}", "signature": ""}]

    async def run(self, call):
        self.ran.append(call)
        act = self.acts.get(call.name)
        if act is None:
            return ToolResult.of(f"result of {call.name}")
        return await act(call)

    def after(self, call, result):
        return [{"type": "text", "text": f"<{'failed' if result.is_error else 'ran'} {call.name}>"}]

    def last_words(self, why):
        return f"Stopped: {why}."


def loop(model, tools, notes=None, **limits):
    note = (notes if notes is not None else []).append
    return Loop(model, Attempt(Backend(), "m"), tools, note, Limits(**limits))


def asked(**fields):
    return MessagesRequest(json.dumps({**ASKED, **fields}).encode())


async def events(one, **fields):
    reply = await one.run(asked(stream=True, **fields))
    return [item async for item in reply.decoded()]


async def message(one, **fields):
    """The message as the client gets it; with the order of a stream checked."""
    reply = await one.run(asked(**fields))
    if reply.body is not None:
        return reply.parsed
    items = [item async for item in reply.decoded()]
    indexes = [i.data["index"] for i in items if i.type == "content_block_start"]
    assert indexes == list(range(len(indexes)))
    return collected(items)


def said(made):
    """The visible texts and calls of a message."""
    return [b.get("text") or b.get("thinking") or b.get("name") for b in made["content"]]


def results(model, at):
    """The tool results in request `at`, by id."""
    last = as_list(model.asked[at]["messages"])[-1]["content"]
    return {block["tool_use_id"]: block for block in last}


def block(index, kind, *deltas, **fields):
    """Events of one block."""
    start = {"type": kind, **fields}
    yield event("content_block_start", index=index, content_block=start)
    for delta in deltas:
        yield event("content_block_delta", index=index, delta=delta)
    yield event("content_block_stop", index=index)


def reply_of(*blocks, reason="end_turn", usage=None):
    """Events of a whole reply."""
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 0},
    }
    return [
        event("message_start", message=message),
        *(item for one in blocks for item in one),
        event(
            "message_delta",
            delta={"stop_reason": reason, "stop_sequence": None},
            usage=usage or {"output_tokens": 1},
        ),
        event("message_stop"),
    ]
