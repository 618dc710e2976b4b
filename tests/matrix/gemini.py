"""What a request of Gemini's API says, as facts: of clients, which have more forms than backends use.

The rest is read by `tests.receipts.wires`.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from plugway_gemini_api._seal import opened
from tests.receipts.facts import Facts
from tests.receipts.wires import read_gemini

Body = Mapping[str, Any]
_WORDS = ("executableCode", "codeExecutionResult", "toolCall", "toolResponse")


def of_gemini(body: Body) -> Facts:
    """A request of `generateContent`."""
    facts: Facts = Counter()
    config = dict(body.get("generationConfig", {}))
    _thinking(facts, config.pop("thinkingConfig", {}))
    made = {**body, "generationConfig": _form(facts, config)}
    made["tools"] = [tool for tool in map(_Tools(facts), body.get("tools", ())) if tool]
    made["toolConfig"] = _choice(facts, body.get("toolConfig", {}))
    made["contents"] = _Contents(facts).of(body["contents"])
    return read_gemini(made) + facts


def _thinking(facts: Facts, thinking: Body) -> None:
    budget = thinking.get("thinkingBudget")
    if "thinkingLevel" in thinking:
        facts["output_config.effort", thinking["thinkingLevel"].lower()] += 1
    if budget == 0:
        facts["output_config.effort", "none"] += 1
    elif budget == -1:
        facts["thinks", ""] += 1
    elif budget:
        facts["thinking.budget", str(budget)] += 1
    if thinking.get("includeThoughts"):
        facts["thinking shown", ""] += 1
        facts["thinks", ""] += 1


def _form(facts: Facts, config: dict[str, Any]) -> dict[str, Any]:
    """The form of an answer in one spelling."""
    newer = config.pop("responseFormat", {}).get("text", {})
    schema = config.pop("responseJsonSchema", None) or newer.get("schema")
    schema = schema or config.pop("responseSchema", None)
    mime = config.pop("responseMimeType", None) or ("application/json" if newer else "")
    if mime == "text/x.enum":
        facts["one of", ",".join(schema["enum"])] += 1
    elif mime and not schema:
        facts["JSON without a schema", ""] += 1
    elif mime:
        config |= {"responseMimeType": mime, "responseSchema": plain_schema(schema)}
    return config


def plain_schema(schema: Any) -> Any:
    """A schema with its types in lower case, and `nullable` as a type."""
    if isinstance(schema, list):
        return [plain_schema(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: plain_schema(value) for name, value in schema.items()}
    if isinstance(kind := found.get("type"), str):
        found["type"] = kind.lower()
        if found.pop("nullable", False):
            found["type"] = [found["type"], "null"]
    for name in ("minItems", "maxItems"):
        if name in found:
            found[name] = int(found[name])
    return found


class _Tools:
    """Reads what a tool is beside a function with a schema."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def __call__(self, tool: Body) -> Body | None:
        """The tool with its functions in one spelling; None where it has none."""
        for name in tool.keys() - {"functionDeclarations"}:
            self._facts["tools", name] += 1
        functions = [self._function(one) for one in tool.get("functionDeclarations", ())]
        return {"functionDeclarations": functions} if functions else None

    def _function(self, given: Body) -> Body:
        function = dict(given)
        for name in ("behavior", "response", "responseJsonSchema"):
            if function.pop(name, None):
                self._facts[f"tools.{name}", function["name"]] += 1
        schema = function.pop("parametersJsonSchema", None) or function.get("parameters")
        return {**function, "parameters": plain_schema(schema)} if schema else function


def _choice(facts: Facts, given: Body) -> Body:
    """The choice in words that the reader knows."""
    calling = dict(given.get("functionCallingConfig", {}))
    for name in given.keys() - {"functionCallingConfig"}:
        facts[f"toolConfig.{name}", ""] += 1
    if calling.pop("streamFunctionCallArguments", None):
        facts["arguments in pieces", ""] += 1
    mode, allowed = calling.get("mode"), calling.get("allowedFunctionNames", ())
    if mode == "VALIDATED":
        facts["tool_choice", mode] += 1
    if len(allowed) > 1:
        facts["allowed", ",".join(allowed)] += 1
        del calling["allowedFunctionNames"]
    return {"functionCallingConfig": calling} if mode in ("ANY", "NONE") else {}


class _Contents:
    """Reads what the parts of a conversation say beside text, media, calls and results."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._open: dict[str, list[str]] = {}
        """Ids of calls that came without one, by the name of their function."""
        self._calls = 0

    def of(self, contents: Any) -> list[Any]:
        """The conversation with parts that the reader knows."""
        return [
            {**content, "parts": [new for part in content["parts"] for new in self._part(part)]}
            for content in contents
        ]

    def _part(self, given: Body) -> list[Any]:
        part = dict(given)
        sealed = opened(part.get("thoughtSignature"))
        if sealed is not None:
            del part["thoughtSignature"]
            for block, _ in sealed:
                self._facts["thinking blocks", block["thinking"]] += 1
        if level := part.pop("mediaResolution", None):
            self._facts["detail", level["level"]] += 1
        if part.get("thought"):
            self._facts["thinking blocks", part["text"]] += 1
            return []
        for name in _WORDS:
            if name in part:
                self._facts["run by the vendor", json.dumps(part[name])] += 1
                return []
        return self._medium(part) or self._pair(part)

    def _medium(self, part: Body) -> list[Any]:
        if file := part.get("fileData"):
            if title := file.get("displayName"):
                self._facts["document.title", title] += 1
            self._facts[_kind(file["mimeType"]), f"user {file['fileUri']}"] += 1
            return [{"text": ""}]
        blob = part.get("inlineData")
        if blob is None:
            return []
        title = blob.get("displayName")
        if blob["mimeType"].startswith("text/"):
            words = base64.b64decode(blob["data"]).decode()
            self._facts["text document", f"[document: {title}]\n{words}"] += 1
            return [{"text": ""}]
        if title:
            self._facts["document.title", title] += 1
        return [part]

    def _pair(self, part: dict[str, Any]) -> list[Any]:
        """A call or its result with the id that leads from one to the other."""
        if call := part.get("functionCall"):
            if "id" not in call:
                self._calls += 1
                self._open.setdefault(call["name"], []).append(f"call {self._calls}")
                part["functionCall"] = {**call, "id": f"call {self._calls}"}
        elif result := part.get("functionResponse"):
            id_ = result.get("id") or self._open[result["name"]].pop(0)
            response = result["response"]
            if not response.keys() & {"output", "error"}:
                said = json.dumps(response, separators=(",", ":")) if response else ""
                response = {"output": said}
            media = [inner for one in result.get("parts", ()) for inner in self._inside(one)]
            return [{"functionResponse": {**result, "id": id_, "response": response}}, *media]
        return [part]

    def _inside(self, part: Body) -> list[Any]:
        blob = part["inlineData"]
        self._facts[_kind(blob["mimeType"]), f"tool {blob['data']}"] += 1
        return []


def _kind(mime: str) -> str:
    return "image" if mime.startswith("image/") else "document"
