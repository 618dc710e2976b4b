"""Tries every feature in every dialect in front of every backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tests.matrix import answered, asked
from tests.matrix import requests as read
from tests.matrix.cells import NOTHING, Cell, holds, is_named, missing, new_lines, word_of
from tests.matrix.servers import SERVERS, Exchanged, Running, serving
from tests.matrix.streams import whole_of


@dataclass(frozen=True)
class Dialect:
    """An API that clients speak."""

    title: str
    path: str
    """Where answers are asked for; `{model}` stands for the model, where its place is here."""
    streaming: str = ""
    """Where streams are asked for, if elsewhere."""

    def place(self, *, stream: bool) -> str:
        """Where a request goes."""
        return ((stream and self.streaming) or self.path).replace("{model}", "m")


DIALECTS: Mapping[str, Dialect] = {
    "messages": Dialect("Messages", "/v1/messages"),
    "chat": Dialect("Chat Completions", "/v1/chat/completions"),
    "responses": Dialect("Responses", "/v1/responses"),
    "gemini": Dialect(
        "Gemini",
        "/v1beta/models/{model}:generateContent",
        "/v1beta/models/{model}:streamGenerateContent?alt=sse",
    ),
}
"""By the name that `asked` and `answered` have for the API."""

Section = dict[str, dict[str, Cell]]
"""Cells by row and backend."""
Matrix = dict[str, dict[str, Section]]
"""Sections by dialect."""


async def matrix(servers: Mapping[str, Any] = SERVERS) -> Matrix:
    """All cells."""
    found: Matrix = {dialect: {} for dialect in DIALECTS}
    for name in servers:
        async with serving(name) as running:
            for dialect in DIALECTS:
                for section, row, cell in await _tried(dialect, running):
                    found[dialect].setdefault(section, {}).setdefault(row, {})[name] = cell
    return found


async def _tried(dialect: str, running: Running) -> list[tuple[str, str, Cell]]:
    client = _Client(dialect, running)
    await client.begin()
    cells: list[tuple[str, str, Cell]] = []
    for section, rows in asked.REQUESTS.items():
        for row, fields in rows.items():
            if dialect in fields:
                cells.append((section, row, await client.request(row, fields[dialect])))
    for section, rows in answered.ANSWERS.items():
        for row, answers in rows.items():
            cell = NOTHING
            if answer := answers.get(running.server.api):
                cell = await client.answer(answer)
            cells.append((section, row, cell))
    return cells


class _Client:
    """A client of one dialect in front of one backend."""

    def __init__(self, dialect: str, running: Running) -> None:
        self._dialect = dialect
        self._running = running
        self._api = running.server.api
        self._base = asked.BASE[dialect]
        self._listening = {**self._base, **asked.LISTENING.get(dialect, {})}

    async def begin(self) -> None:
        """Send the plain request, and take a plain answer."""
        self._running.asks = True
        self._running.answer = answered.CONTENT["text"][self._api]
        self._plain = await self._ask(self._base)
        self._usual = await self._ask(self._listening)
        assert self._plain.status == self._usual.status == 200, self._plain.body

    async def _ask(self, body: Mapping[str, Any], *, stream: bool = False) -> Exchanged:
        path = DIALECTS[self._dialect].place(stream=stream)
        return await self._running.ask(path, body)

    # ── requests ─────────────────────────────────────────────────────────────────────────────

    async def request(self, row: str, fields: Mapping[str, Any]) -> Cell:
        """What becomes of `fields`."""
        self._running.answer = _answers(row, self._api)
        body = {**self._base, **fields}
        sent = await self._ask(body)
        if sent.status >= 400:
            return self._refused(sent, fields)
        return self._arrived(row, body, fields, sent)

    def _refused(self, sent: Exchanged, fields: Mapping[str, Any]) -> Cell:
        message = sent.json["error"]["message"]
        if sent.arrived and self._api != "engine":
            return Cell("lost", (), f"the server refuses it: {message}")
        if not is_named(message, fields):
            return Cell("lost", (), f"refused, without its name: {message}")
        return Cell("refused", (message,))

    def _arrived(
        self, row: str, body: Mapping[str, Any], fields: Mapping[str, Any], sent: Exchanged
    ) -> Cell:
        lines = new_lines(sent.lines, self._plain.lines)
        if not sent.arrived:
            return Cell("emulated", lines or ("answered by the gateway",))
        if sent.refusals and self._dialect != self._api:
            return Cell("lost", lines, f"the vendor would refuse it: {sent.refusals[0]}")
        ours, theirs = read.READERS[self._dialect], read.READERS[self._api]
        without = asked.WITHOUT.get(row, {}).get(self._dialect, {})
        wanted = ours(body) - ours({**self._base, **without})
        gone = missing(wanted, theirs(sent.arrived[0]))
        same = self._verbatim(row, fields, sent)
        cell = word_of(wanted, gone, lines, self._plain.lines, verbatim=same)
        wrong = _wrong(row, cell.word, self._reply(sent.json))
        return Cell("lost", lines, wrong) if wrong else cell

    def _verbatim(self, row: str, fields: Mapping[str, Any], sent: Exchanged) -> bool:
        arrived = sent.arrived[0]
        if row in asked.VALUES:
            return all(holds(arrived, value) for value in asked.VALUES[row][self._dialect])
        return all(_stands(arrived, name, fields, self._base) for name in fields)

    def _reply(self, reply: Any) -> Any:
        return answered.READERS[self._dialect](reply)

    # ── answers ──────────────────────────────────────────────────────────────────────────────

    async def answer(self, answer: answered.Answer) -> Cell:
        """What a client gets of an answer; whole and streamed must be the same."""
        self._running.answer, self._running.asks = answer, False
        wanted = answered.READERS[self._api](answer)
        cells = [await self._got(wanted, stream=stream) for stream in (False, True)]
        worst = [cell for cell in cells if cell.word == "lost"] or cells
        return worst[0]

    async def _got(self, wanted: Any, *, stream: bool) -> Cell:
        body = {**self._listening, **(asked.STREAMED[self._dialect] if stream else {})}
        sent = await self._ask(body, stream=stream)
        if sent.status >= 400:
            return Cell("lost", (), f"{sent.status}: {sent.body.decode()[:200]}")
        got = self._reply(whole_of(self._dialect, sent.body) if stream else sent.json)
        lines = new_lines(sent.lines, self._usual.lines)
        gone = missing(wanted, got)
        same = self._dialect == self._api and not wanted - got
        cell = word_of(wanted, gone, lines, self._usual.lines, verbatim=same)
        return replace(cell, why=cell.why and f"{cell.why} ({'streamed' if stream else 'whole'})")


def _stands(
    arrived: Mapping[str, Any], name: str, fields: Mapping[str, Any], base: Mapping[str, Any]
) -> bool:
    """Whether a field arrived as it was sent; of one that a plain request has too, what is new."""
    sent, before, there = fields[name], base.get(name), arrived.get(name)
    if not (isinstance(sent, Mapping) and isinstance(before, Mapping)):
        return name in arrived and there == sent
    fresh = {key: value for key, value in sent.items() if before.get(key) != value}
    return isinstance(there, Mapping) and all(there.get(key) == fresh[key] for key in fresh)


def _answers(row: str, api: str) -> Any:
    """What the server says to a request of a row: what one says that did as it was told."""
    plain = answered.CONTENT["text"][api]
    if row in asked.OBEYED:
        return None if api == "engine" else answered.CONTENT["tool call"][api]
    if row == "no parallel tool calls":
        return lambda body: _obeying(body, api)
    return plain


def _obeying(body: Mapping[str, Any], api: str) -> answered.Answer:
    one = body.get("parallel_tool_calls") is False or "disable_parallel" in str(body)
    return answered.CONTENT["tool call" if one else "parallel calls"][api]


def _wrong(row: str, word: str, reply: Any) -> str:
    """What a client was promised and did not get."""
    calls = sum(times for (feature, _), times in reply.items() if feature == "call")
    if row == "no parallel tool calls" and word != "dropped with a line" and calls > 1:
        return f"{calls} calls in one answer"
    if row in asked.OBEYED and calls != 1:
        return "no call, although one was demanded"
    return ""
