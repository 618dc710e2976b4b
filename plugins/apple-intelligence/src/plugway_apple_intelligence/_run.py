"""One request in Apple's session, in a thread of its own with an own event loop.

The SDK's stream blocks the loop that it runs in, and tools are called in further threads. Nothing
here touches the gateway's loop except `put`, which must be safe to call from any thread.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson

from plugway import BackendError, StopReason
from plugway_apple_intelligence import _errors, _sdk
from plugway_apple_intelligence._deltas import Deltas
from plugway_apple_intelligence._plan import OfferedTool, Plan
from plugway_apple_intelligence._shape import Shape, schema_json, whole

SETTLE_SECONDS: Final = 0.05
"""Wait after a call for others of the same round: the framework starts them together."""
_BYTES_PER_TOKEN: Final = 4
_CALL_NAME: Final = "tool"


@dataclass(frozen=True, slots=True)
class Started:
    """The prompt was accepted."""

    prompt: int
    """Tokens; estimated if not `exact`."""
    exact: bool


@dataclass(frozen=True, slots=True)
class Text:
    """More text of the reply."""

    text: str


@dataclass(frozen=True, slots=True)
class Called:
    """A complete call; `arguments` is JSON text in the client's schema."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of the reply."""

    reason: StopReason
    output: int = 0
    stop: str | None = None
    explanation: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """The end without a reply."""

    error: BackendError


Item = Started | Text | Called | Ended | Failed


@dataclass
class Run:
    """Runs one plan. `start` it once; `cancel` may be called at any time."""

    plan: Plan
    guardrails: str
    put: Callable[[Item], None]
    done: Callable[[], None]
    """Called in the thread when the session is no longer used."""
    counts_only: bool = False
    """Stop after `Started`, also if the prompt does not fit."""
    _sizes: _errors.Sizes = _errors.Sizes(0, 0)
    _exact: bool = False
    _words: str = ""
    """The text sent so far."""
    _cancelled: bool = False
    _loop: asyncio.AbstractEventLoop | None = None
    _task: asyncio.Task[None] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        """Start the thread. It does not keep the process alive."""
        threading.Thread(target=self._main, name="apple-intelligence", daemon=True).start()

    def cancel(self) -> None:
        """Stop: a reply that is not streamed ends at once. A stream cannot be cancelled through
        the SDK; it is read to its end and thrown away."""
        with self._lock:
            self._cancelled = True
            if self._loop is not None and self._task is not None:
                with suppress(RuntimeError):  # the loop has ended by itself
                    self._loop.call_soon_threadsafe(self._task.cancel)

    def _main(self) -> None:
        try:
            with suppress(asyncio.CancelledError):
                asyncio.run(self._guarded())
        finally:
            with self._lock:
                self._loop = None
            self.done()

    async def _guarded(self) -> None:
        with self._lock:
            self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
            if self._cancelled:
                return
        try:
            await self._answer()
        except BackendError as error:
            self.put(Failed(error))
        except Exception as error:  # the SDK's own, and what its callbacks raise: one exchange
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        """A refusal, or a window that fills up during the reply, ends it; the rest are failures."""
        kind = _errors.kind_of(error)
        if kind == _errors.REFUSED or (kind == _errors.GUARDRAIL and self._words):
            by_guard = kind == _errors.GUARDRAIL
            why = "Apple's guardrails stopped the reply" if by_guard else "Apple's model declined"
            self.put(Ended("refusal", self._estimate(self._words), explanation=why))
        elif kind == _errors.OVERFLOW and self._words:
            self.put(Ended("model_context_window_exceeded", self._estimate(self._words)))
        else:
            self.put(Failed(_errors.failure_of(error, self._sizes)))

    # ── the session ──────────────────────────────────────────────────────────────────────────

    async def _answer(self) -> None:
        fm = _sdk.load()
        model = _sdk.model_of(fm, self.guardrails)
        available, reason = model.is_available()
        if not available:
            raise _errors.unavailable(getattr(reason, "name", "UNKNOWN"))
        calls = _Calls()
        tools = _sdk.tools_of(fm, self.plan, calls.take) if not self.plan.forced else []
        session = await _sdk.session_of(fm, model, self.plan, tools)
        await self._measure(fm, model, session)
        self.put(Started(self._sizes.prompt, self._exact))
        room = self._sizes.window - self._sizes.prompt if self._exact else self._sizes.window
        options = _sdk.options_of(fm, self.plan, room)
        if self.plan.max_tokens == 0 or self.counts_only:
            self.put(Ended("max_tokens"))
        elif self.plan.forced:
            await self._forced(fm, model, session, options)
        elif tools:
            await self._with_tools(fm, model, session, options, calls)
        elif self.plan.reply:
            value = await self._generated(session, self.plan.prompt, self.plan.reply, options)
            await self._say(fm, model, orjson.dumps(value).decode())
        elif self.plan.stream:
            await self._streamed(fm, model, session, options)
        else:
            await self._say(
                fm, model, await session.respond(self.plan.prompt, options=options) or ""
            )

    async def _measure(self, fm: Any, model: Any, session: Any) -> None:
        """Count the prompt. Raises `BackendError` if it does not fit."""
        window = int(model.context_size)
        size = await _sdk.size_of(fm, model, session.transcript, self.plan.prompt)
        self._exact = size is not None
        self._sizes = _errors.Sizes(self._estimated() if size is None else size, window)
        too_long = self._exact and self._sizes.prompt >= window
        if too_long and not self.counts_only:
            raise _errors.too_long(self._sizes)

    def _estimated(self) -> int:
        plan = self.plan
        shown = [schema_json(tool.shape) for tool in plan.tools]
        text = orjson.dumps([plan.instructions, plan.history, plan.prompt, shown])
        return self._estimate(text.decode())

    def _estimate(self, text: str) -> int:
        return max(1, len(text.encode("utf-8", "replace")) // _BYTES_PER_TOKEN)

    # ── replies ──────────────────────────────────────────────────────────────────────────────

    async def _streamed(self, fm: Any, model: Any, session: Any, options: Any) -> None:
        deltas, snapshot = Deltas(self.plan.stops), ""
        async for found in session.stream_response(self.plan.prompt, options=options):
            snapshot = found
            self._text(deltas.feed(found))
        self._text(deltas.feed(snapshot, final=True))
        await self._end(fm, model, deltas.stopped)

    async def _say(self, fm: Any, model: Any, text: str) -> None:
        deltas = Deltas(self.plan.stops)
        self._text(deltas.feed(text, final=True))
        await self._end(fm, model, deltas.stopped)

    def _text(self, text: str) -> None:
        if text:
            self._words += text
            self.put(Text(text))

    async def _end(self, fm: Any, model: Any, stop: str | None) -> None:
        """The framework does not say that a limit ended the reply: its length does."""
        size = await _sdk.size_of(fm, model, self._words) if self._exact and self._words else None
        output = self._estimate(self._words) if size is None else size
        if stop is not None:
            self.put(Ended("stop_sequence", output, stop))
        elif size is not None and size >= self.plan.max_tokens:
            self.put(Ended("max_tokens", output))
        else:
            self.put(Ended("end_turn", output))

    async def _with_tools(
        self, fm: Any, model: Any, session: Any, options: Any, calls: _Calls
    ) -> None:
        """Run the session until it ends or calls a tool; then it is cancelled, and the client runs
        the tool. The next request continues from the transcript."""
        reply = asyncio.create_task(session.respond(self.plan.prompt, options=options))
        called = asyncio.create_task(calls.some.wait())
        try:
            await asyncio.wait((reply, called), return_when=asyncio.FIRST_COMPLETED)
            if not calls.some.is_set():
                await self._say(fm, model, reply.result() or "")
                return
            await asyncio.sleep(SETTLE_SECONDS)
            reply.cancel()
            await asyncio.sleep(0)  # the SDK cancels the native task before tools are let go
        finally:
            called.cancel()
            calls.release()
            if not reply.cancelling():  # a second one would cut the SDK's own wait short
                reply.cancel()
            with suppress(asyncio.CancelledError, Exception):  # its outcome no longer matters
                await reply
        self._call(calls.found)

    def _call(self, found: list[tuple[str, Any]]) -> None:
        shapes = {tool.name: tool.shape for tool in self.plan.tools}
        found = found[:1] if self.plan.one_call else found
        texts = [(name, orjson.dumps(whole(shapes[name], value)).decode()) for name, value in found]
        for name, text in texts:
            self.put(Called(name, text))
        self.put(Ended("tool_use", sum(self._estimate(text) for _, text in texts)))

    async def _forced(self, fm: Any, model: Any, session: Any, options: Any) -> None:
        """A call by guided generation: the tool's name if there is a choice, then its arguments."""
        tools = self.plan.forced
        tool = tools[0] if len(tools) == 1 else await self._chosen(fm, model, options)
        prompt = f"{self.plan.prompt}\n\n{_sdk.call_prompt(tool)}"
        value = await self._generated(session, prompt, tool.shape, options)
        text = orjson.dumps(value).decode()
        self.put(Called(tool.name, text))
        self.put(Ended("tool_use", self._estimate(text)))

    async def _chosen(self, fm: Any, model: Any, options: Any) -> OfferedTool:
        by_name = {tool.sent: tool for tool in self.plan.forced}
        field_ = Shape("string", name=_CALL_NAME, choices=tuple(by_name))
        shape = Shape("object", title="Choice", fields=(field_,))
        session = await _sdk.session_of(fm, model, replace(self.plan, tools=()), [])
        lines = [f"- {tool.sent}: {tool.description}" for tool in self.plan.forced]
        prompt = f"{self.plan.prompt}\n\nChoose the tool to call:\n" + "\n".join(lines)
        value = await self._generated(session, prompt, shape, options)
        return by_name.get(str(value.get(_CALL_NAME)), self.plan.forced[0])

    async def _generated(self, session: Any, prompt: str, shape: Shape, options: Any) -> Any:
        schema = schema_json(shape)
        content = await session.respond(prompt, json_schema=schema, options=options)
        return whole(shape, orjson.loads(content.to_json()))


class _Calls:
    """Calls that Apple's session makes, each in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.some = asyncio.Event()
        self.found: list[tuple[str, Any]] = []
        self._waiting: list[Future[None]] = []
        self._released = False

    def take(self, name: str, arguments: str) -> Future[None]:
        """Record a call; safe from any thread. The future is done when the session may go on."""
        future: Future[None] = Future()
        with suppress(RuntimeError):  # the loop is closed: nobody waits for this call any more
            self._loop.call_soon_threadsafe(self._took, name, orjson.loads(arguments), future)
        return future

    def _took(self, name: str, arguments: Any, future: Future[None]) -> None:
        if self._released:
            future.set_result(None)
            return
        self.found.append((name, arguments))
        self._waiting.append(future)
        self.some.set()

    def release(self) -> None:
        """Let all calls end."""
        self._released = True
        for future in self._waiting:
            future.set_result(None)
        self._waiting.clear()
