"""The four probes: a stream, a forced tool call, a prompt that is too long, a client disconnect."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ssl import SSLContext
from typing import Any, Literal, get_args

import anyio
import orjson

from plugway import as_object
from plugway_probe._talk import SILENT, Heard, Refused, Talk, talking_to

ProbeName = Literal["stream", "tool", "overflow", "cancel"]
Outcome = Literal["passed", "failed", "skipped"]
PROBES: Sequence[ProbeName] = get_args(ProbeName)
"""All probes, the cheapest first."""

_TOO_LONG = re.compile(r"prompt is too long: \d+ tokens > \d+ maximum")
_CITY = {
    "name": "note_city",
    "description": "Write down the name of a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string", "description": "Name of the city."}},
        "required": ["city"],
    },
}
_LARGEST_BODY = 8 * 2**20
_LET_GO_SECONDS = 5.0
_GUARD = "list `context-guard` before the router, and set the real window under `windows`"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one probe of one model."""

    probe: ProbeName
    model: str
    outcome: Outcome
    reason: str
    """What happened, in one sentence."""
    fix: str = ""
    """What to do if it failed."""
    seconds: float = 0.0
    detail: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """`first_seconds` and `output_tokens` of a stream, `arguments` of a call, `let_go_seconds`
    after a disconnect; `status` of an exchange that was refused."""

    @property
    def ok(self) -> bool:
        """Whether it did not fail."""
        return self.outcome != "failed"


@dataclass(frozen=True, slots=True)
class _Task:
    talk: Talk
    model: str
    window: int

    def body(self, text: str, tokens: int, **more: Any) -> dict[str, Any]:
        messages = [{"role": "user", "content": text}]
        return {"model": self.model, "max_tokens": tokens, "messages": messages, **more}

    def finding(self, name: ProbeName, outcome: Outcome, reason: str, fix: str = "") -> Finding:
        return Finding(name, self.model, outcome, reason, fix)


async def probe(
    url: str,
    token: str,
    model: str,
    *,
    tls: SSLContext | None = None,
    probes: Sequence[ProbeName] = PROBES,
    window: int = 0,
    seconds: float = 120.0,
    on_finding: Callable[[Finding], None] | None = None,
) -> list[Finding]:
    """Try `model`, an id as clients send it, through the gateway at `url`. Failures are returned
    as findings, never raised.

    `window` is the model's window in tokens, if you know it better than the list of models.
    `seconds` is the time limit of each probe. `on_finding` is called with each result. If the
    stream fails, the other probes are skipped: they would fail for the same reason. `tls` accepts
    the gateway's certificate.
    """
    findings: list[Finding] = []
    async with talking_to(url, token, seconds, tls) as talk:
        task = _Task(talk, model, window)
        for name in probes:
            if any(f.probe == "stream" and f.outcome == "failed" for f in findings):
                finding = task.finding(name, "skipped", "the stream probe failed")
            else:
                finding = await _run(name, task, seconds)
            findings.append(finding)
            if on_finding is not None:
                on_finding(finding)
    return findings


async def _run(name: ProbeName, task: _Task, seconds: float) -> Finding:
    began = time.monotonic()
    try:
        with anyio.fail_after(seconds):
            finding = await _RUN[name](task)
    except TimeoutError:
        finding = task.finding(name, "failed", f"no complete reply within {seconds:g} s", SILENT)
    except Refused as error:
        finding = task.finding(name, "failed", error.reason, error.fix)
        finding = replace(finding, detail={"status": error.status} if error.status else {})
    return replace(finding, seconds=round(time.monotonic() - began, 3))


async def _stream(task: _Task) -> Finding:
    began, first, heard = time.monotonic(), 0.0, Heard()
    async with task.talk.stream(task.body("Reply with one word: ready", 512)) as pieces:
        async for now in pieces:
            heard = now
            if heard.started and not first:
                first = time.monotonic() - began
    if problem := _flaw(heard):
        return task.finding("stream", "failed", *problem)
    detail = {
        "first_seconds": round(first, 3),
        "output_tokens": heard.usage.get("output_tokens", 0),
        "text": heard.text[:200],
    }
    reason = f"replied after {first:.2f} s"
    return replace(task.finding("stream", "passed", reason), detail=detail)


def _flaw(heard: Heard) -> tuple[str, str] | None:
    """What is wrong with a stream that should be complete: reason and fix; None if it is."""
    if heard.error:
        return heard.error, "check the log of the model's server"
    first = next((kind for kind in heard.types if kind != "ping"), "")
    if first != "message_start" or not heard.ended:
        return "the stream has no start or no end", "check the log of the model's server"
    if not heard.started:
        fix = "choose another model, or list `tool-repair`, which retries after an empty turn"
        return "the model sent an empty reply", fix
    return None


async def _tool(task: _Task) -> Finding:
    body = task.body(
        "Write down the city of Paris with the tool note_city.",
        1024,
        tools=[_CITY],
        tool_choice={"type": "tool", "name": "note_city"},
    )
    heard = await task.talk.whole(body)
    if problem := _flaw(heard):
        return task.finding("tool", "failed", *problem)
    if heard.tool != "note_city":
        said = f"called `{heard.tool}`" if heard.tool else f"replied {heard.text[:60]!r}"
        return task.finding(
            "tool",
            "failed",
            f"it should have called a tool, but it {said}",
            "choose a model that is trained for tool calls; llama-server needs `--jinja`, vLLM "
            "`--enable-auto-tool-choice` and the `--tool-call-parser` of the model",
        )
    try:
        arguments = as_object(orjson.loads(heard.arguments or "{}"))
    except orjson.JSONDecodeError:
        arguments = {}
    if not isinstance(arguments.get("city"), str):
        fix = "list `tool-repair`, or choose a larger model or a finer quantization"
        reason = f"the call's arguments do not fit its schema: {heard.arguments[:80]}"
        return task.finding("tool", "failed", reason, fix)
    finding = task.finding("tool", "passed", "called the tool with valid arguments")
    return replace(finding, detail={"arguments": arguments, "stop_reason": heard.stop_reason})


async def _overflow(task: _Task) -> Finding:
    window = task.window or await _stated_window(task)
    if not window:
        reason, fix = "the model's window is unknown", "set it under `windows` of context-guard"
        return task.finding("overflow", "skipped", reason, fix)
    text = "many words " * window  # at least two tokens each
    if len(text) > _LARGEST_BODY:
        reason = f"a prompt of more than {window:,} tokens is too large to try"
        return task.finding("overflow", "skipped", reason)
    try:
        async with task.talk.stream(task.body(text, 16)) as pieces:
            async for heard in pieces:
                if heard.started or heard.ended:
                    reason = "a prompt of twice the window was accepted: it was silently truncated"
                    return task.finding("overflow", "failed", reason, _GUARD)
    except Refused as error:
        if _TOO_LONG.search(error.reason):
            return task.finding("overflow", "passed", error.reason)
        if error.status in (400, 413):
            reason = f"refused with a message that clients do not know: {error.reason[:120]}"
            return task.finding("overflow", "failed", reason, _GUARD)
        raise
    return task.finding("overflow", "failed", "the stream ended without a reply", _GUARD)


async def _stated_window(task: _Task) -> int:
    """The window in the current list; a local model's may be known only once it is loaded."""
    try:
        window = as_object(await task.talk.get(f"/v1/models/{task.model}")).get("max_input_tokens")
    except Refused:
        return 0
    return window if isinstance(window, int) else 0


async def _cancel(task: _Task) -> Finding:
    before = await _active(task.talk)
    heard = Heard()
    body = task.body("Count from 1 to 500 in words, one number a line, all of them.", 2048)
    async with task.talk.stream(body) as pieces:
        async for now in pieces:
            heard = now
            if heard.started:
                break
    if not heard.started and (problem := _flaw(heard)):
        return task.finding("cancel", "failed", *problem)
    left = time.monotonic()
    while (now_active := await _active(task.talk)) > before:
        if time.monotonic() - left > _LET_GO_SECONDS:
            return task.finding(
                "cancel",
                "failed",
                f"{now_active - before} exchange still ran {_LET_GO_SECONDS:g} s after the client "
                "disconnected",
                "report this for the backend; until it is fixed, long replies cannot be cancelled",
            )
        await anyio.sleep(0.02)
    gone = round(time.monotonic() - left, 3)
    finding = task.finding(
        "cancel", "passed", f"stopped {gone:.2f} s after the client disconnected"
    )
    return replace(finding, detail={"let_go_seconds": gone})


async def _active(talk: Talk) -> int:
    active = as_object(await talk.get("/health")).get("active")
    if not isinstance(active, int):
        raise Refused("the gateway does not report its exchanges", "use the gateway's own token")
    return active


_RUN: Mapping[ProbeName, Callable[[_Task], Awaitable[Finding]]] = {
    "stream": _stream,
    "tool": _tool,
    "overflow": _overflow,
    "cancel": _cancel,
}
