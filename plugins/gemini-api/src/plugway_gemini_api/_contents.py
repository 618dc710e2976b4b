"""Translates a Gemini conversation into turns of the Messages API. Pure functions.

`Content` and `Part` in https://ai.google.dev/api/caching#Content. Consecutive turns of one role
become one turn: a client that stores a stream unchanged has one content per chunk.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

import orjson

from plugway import as_object
from plugway_gemini_api._fields import invalid, named, object_at, objects, text, unknown
from plugway_gemini_api._media import Attachments
from plugway_gemini_api._seal import STAND_INS, Sealed, opened
from plugway_translation import Notes, ToolNames, encode_id

Block = dict[str, Any]

_ROLES: Final[Mapping[str, str]] = {
    "": "user",
    "user": "user",
    "function": "user",
    "model": "assistant",
}
_HINTS: Final = frozenset(
    (
        *("audioMetadata", "documentMetadata", "mediaProcessing", "mediaResolution"),
        *("partMetadata", "speechMetadata", "spreadsheetMetadata", "videoMetadata"),
    )
)
"""Fields of a part that only Google's servers use."""
_RESPONSE: Final = ("id", "name", "response", "parts", "willContinue", "scheduling")
_GOOGLES: Final = ("executableCode", "codeExecutionResult", "toolCall", "toolResponse")
"""Parts about tools that Google ran."""
_RESULT: Final = ("output", "error", "result")
"""Keys of a response with a single value: Google's, and the one its SDK writes."""


_ANY: Final = ("any", "call")
"""Key of all calls of a turn."""


class _Calls:
    """Ids of the calls in one turn that wait for their responses."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, str], deque[str]] = {}
        self._open: set[str] = set()

    def add(self, id_: str, own: str, name: str) -> None:
        """Add a call; `own` is the client's id, empty if it has none."""
        self._open.add(id_)
        for key in (("id", own), ("name", name), _ANY):
            self._waiting.setdefault(key, deque()).append(id_)

    def answered(self, own: str, name: str) -> str:
        """The call that a response belongs to: by id, else the first open one with that name, or
        of all if the response has no name.

        Empty if there is none.
        """
        for key in (("id", own), ("name", name) if name else _ANY):
            waiting = self._waiting.get(key) if key[1] else None
            while waiting:
                if (id_ := waiting.popleft()) in self._open:
                    self._open.remove(id_)
                    return id_
        return ""


class Conversation:
    """Builds a conversation, content by content."""

    def __init__(self, names: ToolNames, media: Attachments, notes: Notes) -> None:
        self._names = names
        self._media = media
        self._notes = notes
        self._messages: list[dict[str, Any]] = []
        self._results: list[Block] = []
        """Results of the open user turn, which precede its other content."""
        self._calls = _Calls()
        """Calls of the last model turn."""
        self._ids: dict[str, int] = {}
        """Ids of calls, with the number of uses."""
        self._carried: set[str] = set()
        """Signatures of the thinking blocks in the open model turn."""

    def of(self, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return `messages`. Raises `InvalidRequest`."""
        for index, content in enumerate(objects(body, "contents", "contents")):
            self._content(content, f"contents[{index}]")
        self._end_turn()
        found: list[dict[str, Any]] = []
        for message in self._messages:
            if found and found[-1]["role"] == message["role"]:  # the turn in between was empty
                found[-1]["content"] += message["content"]
            elif message["content"]:
                found.append(message)
        if not found:
            raise invalid("contents", "no content to answer")
        return found

    def _content(self, content: Mapping[str, Any], path: str) -> None:
        unknown(content, ("role", "parts"), "contents", self._notes)
        given = text(content, "role", path)
        role = _ROLES.get(given)
        if role is None:
            raise invalid(f"{path}.role", "please use a valid role: user, model")
        if not self._messages or self._messages[-1]["role"] != role:
            self._end_turn()
            self._messages.append({"role": role, "content": []})
            if role == "assistant":
                self._calls, self._carried = _Calls(), set()
        blocks: list[Block] = self._messages[-1]["content"]
        for at, part in enumerate(objects(content, "parts", f"{path}.parts")):
            self._hints(part)
            if role == "assistant":
                self._model_part(part, blocks, f"{path}.parts[{at}]")
            else:
                self._user_part(part, blocks, f"{path}.parts[{at}]")

    def _end_turn(self) -> None:
        if self._results:
            self._messages[-1]["content"][:0] = self._results
            self._results = []
        for block in self._messages[-1]["content"] if self._messages else ():
            if isinstance(block.get("text"), list):
                block["text"] = "".join(block["text"])

    def _hints(self, part: Mapping[str, Any]) -> None:
        for name in part.keys() & _HINTS:
            self._notes.add(f"contents.parts.{name}", "drop", "the Messages API has none")

    # ── model turns ──────────────────────────────────────────────────────────────────────────

    def _model_part(self, part: Mapping[str, Any], blocks: list[Block], path: str) -> None:
        carried = self._thinking(part)
        if "functionCall" in part:
            self._carry(carried, blocks)
            blocks.append(self._call(object_at(part, "functionCall", path), path))
            return
        self._carry(carried, blocks)
        if part.get("thought") is True:
            if not carried:
                self._notes.add("contents.parts.thought", "drop", "it is not signed")
            return
        found = self._media.block(part, path) or self._words(part, path)
        if found is None:
            return
        if found["type"] != "text":
            self._notes.add("contents.parts", "drop", "media in model turns is not supported")
        elif blocks and blocks[-1]["type"] == "text":
            blocks[-1]["text"].append(found["text"])
        else:
            blocks.append({"type": "text", "text": [found["text"]]})  # joined in `_end_turn`

    def _thinking(self, part: Mapping[str, Any]) -> list[Sealed]:
        """The thinking blocks that a part carries, each once per turn."""
        signature = part.get("thoughtSignature")
        if signature is None:
            return []
        found = opened(signature)
        if found is None:
            if not _is_stand_in(signature):
                why = "it was not created here and cannot be read"
                self._notes.add("contents.parts.thoughtSignature", "drop", why)
            return []
        fresh: list[Sealed] = []
        for one in found:
            mark = str(one.block.get("signature") or one.block.get("data") or one.block)
            if mark not in self._carried:
                self._carried.add(mark)
                fresh.append(one)
        return fresh

    def _carry(self, carried: list[Sealed], blocks: list[Block]) -> None:
        for one in carried:
            behind = one.before_text and blocks and blocks[-1]["type"] == "text"
            blocks.insert(len(blocks) - 1 if behind else len(blocks), one.block)

    def _call(self, call: Mapping[str, Any], path: str) -> Block:
        unknown(call, ("id", "name", "args"), "functionCall", self._notes)
        name, own = (text(call, key, f"{path}.functionCall") for key in ("name", "id"))
        if not name:
            raise invalid(f"{path}.functionCall.name", "a call requires a name")
        id_ = self._fresh(encode_id(own) if own else f"call_{len(self._ids)}")
        self._calls.add(id_, own, name)
        arguments = as_object(call.get("args"))
        return {"type": "tool_use", "id": id_, "name": self._names.out(name), "input": arguments}

    def _fresh(self, id_: str) -> str:
        """An id that no other call of the conversation has."""
        found = id_
        while found in self._ids:
            self._ids[id_] += 1
            found = f"{id_}-{self._ids[id_]}"
        self._ids[found] = 1
        return found

    # ── user turns ───────────────────────────────────────────────────────────────────────────

    def _user_part(self, part: Mapping[str, Any], blocks: list[Block], path: str) -> None:
        if "functionResponse" in part:
            response = object_at(part, "functionResponse", path)
            self._response(response, blocks, f"{path}.functionResponse")
        elif found := self._media.block(part, path) or self._words(part, path):
            blocks.append(found)

    def _words(self, part: Mapping[str, Any], path: str) -> Block | None:
        if content := text(part, "text", path):
            return {"type": "text", "text": content}
        for name in _GOOGLES:
            if name in part:
                self._notes.add(f"contents.parts.{name}", "translate", "written as text")
                return {"type": "text", "text": _tool_text(name, named(part[name]))}
        known = {"text", "thought", "thoughtSignature", *_HINTS}
        if part.keys() - known:
            self._notes.add("contents.parts", "drop", "unknown part")
        return None

    def _response(self, response: Mapping[str, Any], blocks: list[Block], path: str) -> None:
        unknown(response, _RESPONSE, "functionResponse", self._notes)
        for name in ("willContinue", "scheduling"):
            if response.get(name):
                self._notes.add(
                    f"functionResponse.{name}", "drop", "partial results are not supported"
                )
        content, failed = _result(response.get("response"))
        for at, part in enumerate(objects(response, "parts", f"{path}.parts")):
            self._hints(part)
            if found := self._media.block(part, f"{path}.parts[{at}]"):
                content.append(found)
        call = self._calls.answered(text(response, "id", path), text(response, "name", path))
        if not call:
            self._notes.add(
                "functionResponse", "translate", "it has no matching call, sent as text"
            )
            blocks.extend([{"type": "text", "text": "[tool result]"}, *content])
            return
        block: Block = {"type": "tool_result", "tool_use_id": call, "content": content}
        self._results.append({**block, "is_error": True} if failed else block)


def _result(value: Any) -> tuple[list[Block], bool]:
    """The content of a result, and whether the call failed.

    `output` and `error` are Google's keys; anything else is returned as JSON (`FunctionResponse` in
    the API reference).
    """
    response = as_object(value)
    failed = bool(response.get("error")) and "output" not in response
    inner: Any = value
    if len(response) == 1:
        inner = next((response[key] for key in _RESULT if key in response), value)
    if inner is None or inner == {}:
        return [], failed
    content = inner if isinstance(inner, str) else orjson.dumps(inner).decode()
    return ([{"type": "text", "text": content}] if content else []), failed


def _tool_text(name: str, part: Mapping[str, Any]) -> str:
    if name == "executableCode":
        return f"[code that was run]\n{part.get('code') or ''}"
    if name == "codeExecutionResult":
        return f"[what the code printed]\n{part.get('output') or ''}"
    fields = {key: value for key, value in part.items() if key != "id"}
    head = "[a tool was called]" if name == "toolCall" else "[tool result]"
    return f"{head}\n{orjson.dumps(fields).decode()}"


def _is_stand_in(signature: object) -> bool:
    """Whether it is one of the documented placeholders; SDKs encode them as base64."""
    coded = [base64.b64encode(one.encode()).decode() for one in STAND_INS]
    return signature in (*STAND_INS, *coded)


def system_of(body: Mapping[str, Any], notes: Notes) -> list[Block]:
    """`system`, from `systemInstruction`. Raises `InvalidRequest`."""
    given = body.get("systemInstruction")
    if given is None:
        return []
    if isinstance(given, str):
        return [{"type": "text", "text": given}] if given else []
    content = object_at(body, "systemInstruction", "")
    found: list[Block] = []
    for part in objects(content, "parts", "systemInstruction.parts"):
        if content := text(part, "text", "systemInstruction.parts"):
            found.append({"type": "text", "text": content})
        elif "text" not in part:
            notes.add("systemInstruction", "drop", "only text is allowed here")
    return found
