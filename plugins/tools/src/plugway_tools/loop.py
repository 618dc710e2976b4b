"""The hidden tool loop: a model's calls are run here, and the client gets one reply.

Each reply of the model is passed on event by event. Calls of tools that the runner knows are taken
out; when the reply has ended they are run, the model gets the results and is asked again, and its
next reply follows in the same message. The client does not see where one ends and the next begins.

- Calls run in order, or together if every tool allows it. Each is run once; a failure, wrong
  arguments or a limit are results that the model reads.
- If a reply also calls a tool of the client's, the client gets that call, after the hidden ones.
- While tools run, and while the model is asked again, the stream has a `ping` every few seconds.
- `usage` has the prompt of the last request, from which clients compute how full the context is,
  and the output of all requests. The receipt has the sums.
- At a limit the model is asked once more, with `tool_choice: none`. If it cannot be asked, or has
  nothing to say, a sentence of the runner ends the message.
- If the client asked for output of a schema, it gets only the text of the last reply.
- A reply that breaks off is cut off for the client too, which may send the request again; unless a
  call may have changed something: then the sentence ends it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, TypeVar

import orjson

from plugway import (
    Attempt,
    BackendError,
    BackendProtocolError,
    Exchange,
    MessagesRequest,
    PlugwayError,
    Reply,
    Send,
    StateKey,
    StreamEvent,
    StreamInterrupted,
    as_list,
    as_object,
    event,
)
from plugway_tools._limits import Limits
from plugway_tools._progress import asking, record_usage, running_tool
from plugway_tools._protocols import ToolResult, failed
from plugway_tools._replies import (
    CUT,
    GOES_ON,
    MAX_RETRY_SECONDS,
    RETRY_SECONDS,
    drained,
    in_inner_form,
    may_pass,
    not_again,
    tokens,
)
from plugway_tools._results import Results, result_block
from plugway_tools._round import Called, Hidden, Round, Runner
from plugway_wire.events import PING, collect

__all__ = ["Called", "Hidden", "Limits", "Loop", "Runner", "stop"]

T = TypeVar("T")
Note = Callable[[str], None]
Adapt = Callable[[MessagesRequest], MessagesRequest]
log = logging.getLogger("plugway.tools")

_STOP_SECONDS: Final = 1.5
_RUNNING: StateKey[list[Loop]] = StateKey("tools.loop")


class Loop:
    """One attempt whose reply may call hidden tools. Use it in `around_attempt`, once, and call
    `stop` in `finished`."""

    def __init__(
        self,
        send: Send,
        attempt: Attempt,
        runner: Runner,
        note: Note,
        limits: Limits | None = None,
        adapt: Adapt | None = None,
    ) -> None:
        """`note` writes a line on the receipt. `adapt` may change each further request, such as the
        tools that it offers."""
        self._send = send
        self._attempt = attempt
        self._runner = runner
        self._note = note
        self._limits = limits or Limits()
        self._adapt: Adapt = adapt or (lambda request: request)
        self._until = time.monotonic() + self._limits.seconds
        self._ids: set[str] = set()
        self._asked = 0
        self._calls = 0
        self._results = Results(self._limits.result_characters)
        self._read = self._written = 0
        self._changed = False
        self._why = ""
        """Why no more calls are run, as a clause; empty if they are."""
        self._next: Reply | None = None
        self._reply: Reply | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self, request: MessagesRequest) -> Reply:
        """The reply for the client.

        Raises:
            BackendError: the attempt failed.
        """
        request = in_inner_form(request, self._attempt)
        reply = await self._sent(request)
        if reply.status >= 400:
            return reply
        exchange = self._attempt.exchange
        running = exchange.state.get(_RUNNING)
        if running is None:
            running = exchange.state[_RUNNING] = []
        running.append(self)
        if reply.is_stream:
            return reply.replace(chunks=None, events=self._events(request, reply))
        message = reply.parsed
        if not any(map(self._is_hidden, as_list(message.get("content")))):
            return reply
        made = await collect(self._events(request, reply))
        return reply.replace(body=orjson.dumps({**message, **made}), made=True)

    async def end(self) -> None:
        """Cancel what still runs, and wait for it briefly."""
        tasks = [task for task in self._tasks if not task.done()]
        self._cancel()
        if tasks:
            _, left = await asyncio.wait(tasks, timeout=_STOP_SECONDS)
            if left:
                log.warning("%d calls of tools do not end although they were cancelled", len(left))
        if self._reply is not None:
            await self._reply.close()

    def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()

    # ── one message ──────────────────────────────────────────────────────────────────────────

    async def _events(self, request: MessagesRequest, reply: Reply) -> AsyncIterator[StreamEvent]:
        """The single message made of all replies."""
        index = 0
        strict = bool(as_object(request.get("output_config")).get("format"))
        try:
            while True:
                part = Round(self._runner, index, self._ids, first=self._asked == 1, waits=strict)
                async for item in self._passed_on(part, reply):
                    yield item
                if not part.ended:
                    return
                await reply.close()
                self._count(part)
                results = list[dict[str, Any]]()
                async for item in self._ran(part, results):
                    yield item
                goes_on = bool(results) and self._goes_on(part)
                for item in part.release(texts=not (strict and goes_on)):
                    yield item
                if goes_on:
                    request = self._extended(request, part, results)
                    async for item in self._ask(request):
                        yield item
                if self._next is None:
                    for item in self._ended(part, silent=not part.says):
                        yield item
                    return
                reply, self._next, index = self._next, None, part.index
        finally:
            self._cancel()

    async def _passed_on(self, part: Round, reply: Reply) -> AsyncIterator[StreamEvent]:
        """The events of one reply. `part.ended` is false if it broke off and was ended here."""
        source = aiter(reply.decoded())
        try:
            async for item in source:
                for out in part.feed(item):
                    yield out
                if part.ended:
                    await drained(source)
                    break
            if not part.ended or part.delta is None:
                raise StreamInterrupted("the stream ended without `message_stop`")
        except BackendError as error:
            ends = part.close() if self._changed else None
            if ends is None:
                not_again(error, changed=self._changed)
                raise
            part.ended = False
            self._note(f"the reply broke off after calls had run: {error.record[:200]}")
            for item in ends:
                yield item
            for item in self._with_words(part, "its reply broke off", {}):
                yield item

    def _count(self, part: Round) -> None:
        usage = part.usage
        record_usage(self._attempt.exchange, usage)
        self._read += sum(tokens(usage, key) for key in usage if key.endswith("input_tokens"))
        self._written += tokens(usage, "output_tokens")

    def _goes_on(self, part: Round) -> bool:
        """Whether the model gets the results of a reply; `_why` says why no more calls are run."""
        if self._why or part.own_calls or part.reason not in GOES_ON:
            return False
        limits = self._limits
        if self._asked >= limits.rounds:
            self._why = f"the limit of {limits.rounds} rounds of calls is reached"
        elif self._calls >= limits.calls:
            self._why = f"the limit of {limits.calls} calls is reached"
        elif time.monotonic() >= self._until:
            self._why = f"the time limit of {limits.seconds:g} s is reached"
        elif limits.tokens and self._read + self._written >= limits.tokens:
            self._why = f"the limit of {limits.tokens:,} tokens is reached"
        if self._why:
            self._note(self._why)
        return True

    def _ended(self, part: Round, *, silent: bool) -> Iterator[StreamEvent]:
        """The last events; `silent` if the last reply has nothing for the client."""
        assert part.delta is not None
        if not self._calls:
            yield part.delta
            yield event("message_stop")
            return
        self._note(
            f"{self._asked} requests, {self._calls} calls; all together {self._read:,} tokens "
            f"read, {self._written:,} written"
        )
        waiting = bool(part.calls) and not part.own_calls and part.reason in GOES_ON
        if waiting or (silent and part.reason != "refusal"):
            cut = part.reason not in GOES_ON
            why = self._why or ("its reply was cut off" if cut else "the model had nothing to say")
            yield from self._with_words(part, why, as_object(part.delta.data.get("delta")))
            return
        usage = {**part.usage, "output_tokens": self._written}
        yield StreamEvent("message_delta", {**part.delta.data, "usage": usage})
        yield event("message_stop")

    def _with_words(self, part: Round, why: str, delta: Mapping[str, Any]) -> Iterator[StreamEvent]:
        """The last events, with the runner's sentence."""
        yield from part.added([{"type": "text", "text": self._runner.last_words(why)}])
        reason = delta.get("stop_reason")
        reason = reason if reason in CUT else "end_turn"
        usage = {"input_tokens": 0, **part.usage, "output_tokens": self._written}
        delta = {**delta, "stop_reason": reason, "stop_sequence": None}
        yield event("message_delta", delta=delta, usage=usage)
        yield event("message_stop")

    # ── calls ────────────────────────────────────────────────────────────────────────────────

    async def _ran(self, part: Round, results: list[dict[str, Any]]) -> AsyncIterator[StreamEvent]:
        """Run the calls of a reply; adds the results for the model to `results`."""
        calls = [replace(call, mixed=part.own_calls) for call in part.calls]
        complete = part.reason in GOES_ON
        together = all(call.tool.parallel for call in calls)
        for group in [calls] if together else [[call] for call in calls]:
            tasks = [self._task(self._result(call, complete=complete)) for call in group]
            latest = max(self._until, time.monotonic()) + _STOP_SECONDS
            async for item in self._meanwhile(tasks, latest):
                yield item
            for call, task in zip(group, tasks, strict=True):
                result = task.result() if task.done() else failed("The tool does not stop.")
                results.append(result_block(call.id, result))
                for item in part.added(self._runner.after(call, result)):
                    yield item

    async def _result(self, call: Called, *, complete: bool) -> ToolResult:
        """The result of one call, whatever the runner does."""
        self._calls += 1
        left = self._until - time.monotonic()
        if call.arguments is None:
            return failed("The arguments of the call are not a JSON object. Call again.")
        if not complete:
            return failed("Not run: the reply was cut off.")
        if self._why:
            return failed(f"Not run: {self._why}.")
        if self._calls > self._limits.calls:
            return failed(f"Not run: the limit of {self._limits.calls} calls is reached.")
        if left <= 0:
            return failed(f"Not run: the time limit of {self._limits.seconds:g} s is reached.")
        self._changed = self._changed or call.tool.changes
        try:
            with running_tool(self._attempt.exchange, call.id, call.name):
                async with asyncio.timeout(left):
                    return self._results.bounded(await self._runner.run(call))
        except TimeoutError:
            return failed(f"Stopped at the time limit of {self._limits.seconds:g} s.")
        except BaseException as error:  # a plugin's own code
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            log.exception("a tool failed")
            return failed(f"The tool failed ({type(error).__name__}).")

    def _is_hidden(self, block: Any) -> bool:
        fields = as_object(block)
        called = fields.get("type") == "tool_use"
        return called and self._runner.hidden(str(fields.get("name"))) is not None

    # ── the next request ─────────────────────────────────────────────────────────────────────

    def _extended(
        self, request: MessagesRequest, part: Round, results: list[dict[str, Any]]
    ) -> MessagesRequest:
        """The request with a reply and the results of its calls."""
        messages = [
            *as_list(request.body.get("messages")),
            {"role": "assistant", "content": part.said},
            {"role": "user", "content": results},
        ]
        because = "the model gets the results of its calls"
        request = self._adapt(request.replace(messages=messages, because=because))
        choice = as_object(request.get("tool_choice"))
        if self._why:
            return request.replace(tool_choice={"type": "none"}, because=self._why)
        if choice.get("type") in ("any", "tool"):  # it has called; else it would never end
            rest = {key: choice[key] for key in choice.keys() - {"name"}}
            return request.replace(tool_choice={**rest, "type": "auto"}, because=because)
        return request

    async def _ask(self, request: MessagesRequest) -> AsyncIterator[StreamEvent]:
        """Ask the model again; sets `_next`, or `_why` if there is no usable reply."""
        again = self._task(self._sent_again(request))
        with asking(self._attempt.exchange):
            async for item in self._meanwhile([again]):
                yield item
        try:
            reply = again.result()
        except PlugwayError as error:
            self._failed(error.record)
            return
        if reply.status >= 400:
            await reply.close()
            self._failed(f"status {reply.status}")
            return
        self._note(f"the model was asked again, with the results (request {self._asked})")
        self._next = reply

    def _failed(self, record: str) -> None:
        self._note(f"the model could not be asked again: {record[:200]}")
        self._why = "the model could not be asked again"

    async def _sent_again(self, request: MessagesRequest) -> Reply:
        """A reply to a further request, which is sent once more after a failure that may pass:
        plugins that repeat requests may be outside of the loop, and cannot repeat this one."""
        try:
            return await self._sent(request)
        except BackendError as error:
            if not may_pass(error):
                raise
            self._note(f"asked again, because it failed: {error.record[:200]}")
            await asyncio.sleep(min(error.retry_after or RETRY_SECONDS, MAX_RETRY_SECONDS))
            self._asked -= 1
        return await self._sent(request)

    async def _sent(self, request: MessagesRequest) -> Reply:
        self._asked += 1
        reply = self._reply = await self._send(request, self._attempt)
        if reply.dialect:
            await reply.close()
            raise BackendProtocolError("a reply in the client's own API cannot be continued")
        return reply

    # ── waiting ──────────────────────────────────────────────────────────────────────────────

    def _task(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _meanwhile(
        self, tasks: Iterable[asyncio.Task[Any]], until: float = math.inf
    ) -> AsyncIterator[StreamEvent]:
        """A ping every few seconds until the tasks are done, or it is too late."""
        waiting = set(tasks)
        while waiting and (left := until - time.monotonic()) > 0:
            seconds = min(self._limits.ping_seconds, left)
            _, waiting = await asyncio.wait(waiting, timeout=seconds)
            if waiting:
                yield PING


async def stop(exchange: Exchange) -> None:
    """Call it in `finished`: ends what a loop of the exchange still runs, such as the calls of a
    client that left."""
    running = exchange.state.get(_RUNNING) or []
    while running:  # emptied, or the exchange would keep itself alive
        await running.pop().end()
