"""A model that writes a file, runs a command and reports its output, in any of four APIs.

The request alone decides the next step: the tool results in it. The calls are valid for the schemas
of the tools in the request.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, NamedTuple

from gemini_answers import SIGNATURE, answered, piece
from gemini_answers import call as gemini_call
from gemini_answers import text as gemini_text
from openai_answers import answer_of, message, reasoning, streamed
from openai_answers import call as response_call

from plugway.testing import (
    ReceivedRequest,
    anthropic_message,
    anthropic_stream,
    respond,
    sse,
)
from plugway_openai_wire.testing import chat_message, chat_stream
from plugway_testing._strict._gemini import in_camel_case

FILE = "note.txt"
CONTENT = (
    'seventeen apples\n\ta "quoted" back\\slash, \\n as two characters, \u00e9 and \U0001f34f\n'
)
COMMAND = f"tr a-z A-Z < {FILE}"
"""The command's output is in no request before the command has run."""
PATCH = f"*** Begin Patch\n*** Add File: {FILE}\n+{CONTENT[:-1].replace(chr(10), chr(10) + '+')}\n*** End Patch"
"""The file as an input for Codex's tool."""
PRINTED = "SEVENTEEN APPLES"
FINAL = f"The command printed {PRINTED}."
_NAMES = {
    "path": ("path", "file_path", "filePath", "absolute_path", "target_file"),
    "content": ("content", "contents", "file_text"),
    "command": ("command", "cmd", "commands"),
}
_FILLERS: Mapping[str, Any] = {
    "string": "to follow the request",
    "boolean": False,
    "integer": 1,
    "number": 1,
    "array": [],
    "object": {},
}


@dataclass(frozen=True)
class Step:
    """A call of a client's tool, with values of arguments whose names do not show their meaning."""

    tool: str
    values: Mapping[str, Any] = field(default_factory=dict)


class Tool(NamedTuple):
    """A tool in a request."""

    name: str
    schema: Mapping[str, Any] | None
    """JSON Schema of the arguments; None if the tool takes a text."""
    namespace: str = ""
    """Namespace of the Responses API, which separates it from the name."""


class Asked(NamedTuple):
    """The parts of a request that decide the next step."""

    tools: Mapping[str, Tool]
    results: Sequence[str]
    text: str
    """The whole conversation as text, for clients that put results into it as text."""


class Say(NamedTuple):
    """A reply: a text, and a call of one tool."""

    text: str = ""
    tool: Tool | None = None
    arguments: Any = None


@dataclass
class ScriptedModel:
    """Replies to the requests of one client, which works in one folder."""

    folder: str
    """Path of the file. The first step whose tool is offered creates it."""
    writes: Sequence[Step]
    runs: Sequence[Step]
    ends: Step | None = None
    """The tool that the client expects for the final answer, if it has one."""
    mark: str = ""
    """Text before a result, if the client sends results as text."""
    reads: Sequence[Step] = ()
    """Steps after the command, if the client reads back more than its output."""
    edits: str = ""
    """The reply that makes the client write the file, if it has no tools."""
    asked: list[Asked] = field(default_factory=list)
    """Texts of the requests with tools, in order."""
    problems: list[str] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=count)

    def __call__(self, request: ReceivedRequest) -> list[Any]:
        """The script that answers a request, chosen by its path."""
        path = request.path.partition("?")[0]
        for end, answer in _APIS.items():
            if path.endswith(end):
                return answer(request, self.say, next(self._numbers))
        if request.method == "GET":
            return respond(404, {"error": {"type": "not_found_error", "message": "no list"}})
        self.problems.append(f"{request.method} {request.path}")
        return respond(404, {"error": {"type": "not_found_error", "message": path}})

    def say(self, asked: Asked) -> Say:
        """The next step."""
        if self.edits:
            done = PRINTED in asked.text
            self.asked.append(asked._replace(results=["", asked.text] if done else []))
            return Say(FINAL if done else self.edits)
        if not asked.tools:
            return Say("A title")
        if self.mark:
            asked = asked._replace(results=asked.text.split(self.mark)[1:])
        self.asked.append(asked)
        steps = [s for s in (self.writes, self.runs, self.reads) if s]
        if len(asked.results) < len(steps):
            return self._call(asked, steps[len(asked.results)])
        last = asked.results[-1]
        words = FINAL if PRINTED in last else f"No result of the command: {last[:500]!r}"
        if self.ends is None:
            return Say(words)
        return self._call(asked, [self.ends], words)

    def _call(self, asked: Asked, steps: Sequence[Step], last: str = "") -> Say:
        step = next((step for step in steps if step.tool in asked.tools), None)
        if step is None:
            self.problems.append(f"none of {steps} is among {sorted(asked.tools)}")
            return Say("There is no such tool.")
        tool = asked.tools[step.tool]
        words = f"I call {tool.name}."
        values = {name: self._filled(value, last) for name, value in step.values.items()}
        if tool.schema is None:
            return Say(words, tool, values["input"])
        arguments = self._arguments(tool.schema, values)
        unknown = values.keys() - arguments.keys()
        if unknown:
            self.problems.append(f"{step.tool} has no {sorted(unknown)}: {tool.schema}")
        return Say(words, tool, arguments)

    def _arguments(self, schema: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
        """Values for all arguments that are required or that the step has a value for."""
        properties = schema.get("properties", {})
        needed = [*schema.get("required", ()), *(n for n in properties if n in values)]
        return {
            name: values[name] if name in values else self._value(name, properties[name])
            for name in dict.fromkeys(needed)
        }

    def _value(self, name: str, schema: Mapping[str, Any]) -> Any:
        kind = schema.get("type")
        kind = kind[0] if isinstance(kind, list) else str(kind).lower()
        for what, names in _NAMES.items():
            if name in names:
                text = self._filled("{" + what + "}")
                return [text] if kind == "array" else text
        if "enum" in schema:
            return schema["enum"][0]
        return _FILLERS[kind]

    def _filled(self, value: Any, last: str = "") -> Any:
        if not isinstance(value, str):
            return value
        known = {
            "path": f"{self.folder}/{FILE}",
            "content": CONTENT,
            "command": COMMAND,
            "words": last,
            "patch": PATCH,
            "patch:ended": PATCH.replace("\n*** End", "\n+\n*** End"),
            "patch:json": json.dumps(PATCH),
            "command:json": json.dumps(COMMAND),
        }
        for name, text in known.items():
            value = value.replace("{" + name + "}", text)
        return value


# ── the four APIs ────────────────────────────────────────────────────────────────────────────────


_Decide = Callable[[Asked], Say]


def _texts(content: Any) -> str:
    """The text of a result, whatever its structure."""
    if isinstance(content, str):
        return content
    if isinstance(content, Mapping):
        return "".join(_texts(part) for part in content.values())
    return "".join(_texts(part) for part in content) if isinstance(content, list) else ""


def _named(tools: Iterable[Tool]) -> dict[str, Tool]:
    return {tool.name: tool for tool in tools}


def _messages(request: ReceivedRequest, decide: _Decide, number: int) -> list[Any]:
    body = request.json
    if body.get("thread"):
        details = {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}
        error = {"type": "invalid_request_error", "message": "no threads", "details": details}
        return respond(400, {"type": "error", "error": error, "request_id": f"req_{number}"})
    blocks = [b for m in body["messages"] if isinstance(m["content"], list) for b in m["content"]]
    tools = [
        Tool(t["name"], t["input_schema"]) for t in body.get("tools", ()) if "input_schema" in t
    ]
    results = [_texts(b.get("content")) for b in blocks if b["type"] == "tool_result"]
    said = decide(Asked(_named(tools), results, _texts(body["messages"])))
    calls = [(said.tool.name, said.arguments)] if said.tool else []
    kind = body.get("thinking", {}).get("type", "disabled")
    thinking = "" if kind == "disabled" else "First this."
    make = anthropic_stream if body.get("stream") else anthropic_message
    made = json.dumps(make(said.text, thinking=thinking, tool_calls=calls))
    made = json.loads(
        made.replace("_scripted", f"_{number}").replace("toolu_0001", f"toolu_{number}")
    )
    if isinstance(made, dict):
        return respond(200, made, {"request-id": f"req_{number}"})
    return sse([(name, data) for name, data in made])


def _count(request: ReceivedRequest, decide: _Decide, number: int) -> list[Any]:
    return respond(200, {"input_tokens": 42})


def asked_in_chat(body: Mapping[str, Any]) -> Asked:
    """What a request of Chat Completions says."""
    offered = [t[t["type"]] for t in body.get("tools", ())]
    tools = [Tool(t["name"], t.get("parameters")) for t in offered]
    results = [_texts(m["content"]) for m in body["messages"] if m["role"] == "tool"]
    return Asked(_named(tools), results, _texts(body["messages"]))


def _chat(request: ReceivedRequest, decide: _Decide, number: int) -> list[Any]:
    body = request.json
    said = decide(asked_in_chat(body))
    calls = []
    if said.tool:
        calls = [(f"call_{number}", said.tool.name, json.dumps(said.arguments))]
    if body.get("stream"):
        return sse(chat_stream(said.text, tool_calls=calls))
    return respond(200, chat_message(said.text, tool_calls=calls))


def _offered(tools: Sequence[Any], namespace: str = "") -> Iterator[Tool]:
    """The tools of a list in the Responses API, without those of OpenAI's servers."""
    for tool in tools:
        if tool["type"] == "namespace":
            yield from _offered(tool["tools"], tool["name"])
        elif tool["type"] in ("function", "custom"):
            name = f"{namespace}__{tool['name']}" if namespace else tool["name"]
            yield Tool(name, tool.get("parameters"), namespace)


def _responses(request: ReceivedRequest, decide: _Decide, number: int) -> list[Any]:
    body = request.json
    items = [] if isinstance(body["input"], str) else body["input"]
    added = [t for i in items if i.get("type") == "additional_tools" for t in i["tools"]]
    tools = _offered([*body.get("tools", ()), *added])
    results = [_texts(i["output"]) for i in items if i.get("type", "").endswith("_call_output")]
    said = decide(Asked(_named(tools), results, _texts(items)))
    output = [reasoning("First this.", id=f"rs_{number}"), message(said.text, id=f"msg_{number}")]
    if said.tool:
        output.append(_responses_call(said.tool, said.arguments, number))
    answer = answer_of(*output, id=f"resp_{number}")
    return streamed(answer) if body.get("stream") else respond(200, answer)


def _responses_call(tool: Tool, arguments: Any, number: int) -> dict[str, Any]:
    custom = tool.schema is None
    text = arguments if custom else json.dumps(arguments)
    name = tool.name.removeprefix(f"{tool.namespace}__")
    item = response_call(name, text, f"call_{number}", f"fc_{number}")
    if custom:
        item = {**item, "type": "custom_tool_call", "id": f"ctc_{number}"}
        item["input"] = item.pop("arguments")
        del item["status"]  # `ResponseCustomToolCall` of the SDK has none
    return {**item, "namespace": tool.namespace} if tool.namespace else item


def _gemini(request: ReceivedRequest, decide: _Decide, number: int) -> list[Any]:
    body = in_camel_case(request.json)
    offered = [f for t in body.get("tools", ()) for f in t.get("functionDeclarations", ())]
    tools = [
        Tool(f["name"], f.get("parametersJsonSchema") or f.get("parameters") or {}) for f in offered
    ]
    parts = [p for c in body["contents"] for p in c["parts"]]
    results = [_texts(p["functionResponse"]["response"]) for p in parts if "functionResponse" in p]
    said = decide(Asked(_named(tools), results, _texts(body["contents"])))
    parts = [gemini_text(said.text)]
    if said.tool:
        called = gemini_call(said.tool.name, said.arguments)
        parts.append({**called, "thoughtSignature": SIGNATURE})
    return answered(request, piece(*parts, finish="STOP"))


def _gemini_count(request: ReceivedRequest, decide: _Decide, number: int) -> list[Any]:
    return respond(200, {"totalTokens": 42})


_APIS: Mapping[str, Callable[[ReceivedRequest, _Decide, int], list[Any]]] = {
    "/messages": _messages,
    "/messages/count_tokens": _count,
    "/chat/completions": _chat,
    "/responses": _responses,
    ":generateContent": _gemini,
    ":streamGenerateContent": _gemini,
    ":countTokens": _gemini_count,
}
