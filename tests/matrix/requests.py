"""What a request says, in each API, as facts that can be compared between them.

Most is read by `tests.receipts`; here is what a client says in a field of one API only, and what a
model on this machine is given.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from plugway_demo_model import model_path
from plugway_llama_cpp._gguf import read_header
from plugway_local_engine import ChatTemplate, build_conversation, tool_choice_of, tools_of
from plugway_toolcalls import detect_family
from tests.matrix.gemini import of_gemini
from tests.receipts.facts import Facts, Reading, read_messages
from tests.receipts.wires import read_chat, read_responses

Body = Mapping[str, Any]


def _renamed(facts: Facts, **names: str) -> Facts:
    """Call facts by one name in all APIs."""
    for feature, said in [one for one in facts if one[0] in names]:
        facts[names[feature], said] += facts.pop((feature, said))
    return facts


def _valued(facts: Facts, feature: str, **values: str) -> None:
    """Call values by one name in all APIs."""
    for value, to in values.items():
        facts[feature, to] += facts.pop((feature, value), 0)


def _is_any_json(form: Any) -> bool:
    return isinstance(form, dict) and form.get("type") == "json_object"


def _marked(facts: Facts, where: str, holders: Any) -> None:
    """Marks for a cache, by their place."""
    for holder in holders if isinstance(holders, list) else ():
        if "cache_control" in holder:
            facts["cache_control", where] += 1


def of_messages(body: Body) -> Facts:
    """A request of the Messages API."""
    facts = read_messages(dict(body))
    for name in ("cache_control", "turns"):
        for _, said in [one for one in facts if one[0] == name]:
            del facts[name, said]
    _marked(facts, "request", [body])
    _marked(facts, "system", body.get("system"))
    _marked(facts, "tool", body.get("tools"))
    for message in body["messages"]:
        _marked(facts, message["role"], message["content"])
    thinking = body.get("thinking", {})
    for _, said in [one for one in facts if one[0] == "thinking"]:
        del facts["thinking", said]
    if thinking.get("type") == "disabled":
        facts["output_config.effort", "none"] += 1
    elif thinking:
        facts["thinks", ""] += 1
    if thinking.get("display") == "summarized":
        facts["thinking shown", ""] += 1
    if who := body.get("metadata"):
        del facts["metadata", json.dumps(who, sort_keys=True)]
        facts["metadata", who["user_id"]] += 1
    del facts["document blocks", ""]
    return facts


def of_chat(body: Body) -> Facts:
    """A request of Chat Completions, what servers add to it included."""
    fields = dict(body)
    form = fields.get("response_format")
    if as_json := _is_any_json(form):
        del fields["response_format"]
    effort = fields.pop("reasoning_effort", None)
    wanted = fields.pop("reasoning", {})
    fields["messages"] = [_as_system(message) for message in fields["messages"]]
    facts = _with_other_tools(fields, read_chat)
    if as_json:
        facts["JSON without a schema", ""] += 1
    for said in filter(None, (effort, wanted.get("effort"))):
        facts["output_config.effort", said] += 1
    if "max_tokens" in wanted:
        facts["thinking.budget", json.dumps(wanted)] += 1
    for message in fields["messages"]:
        for name in ("reasoning_content", "name"):
            if name in message:
                facts[f"messages.{name}", message[name]] += 1
        _marked(facts, message["role"], message["content"])
        for part in message["content"] if isinstance(message["content"], list) else ():
            _part_extras(facts, part)
    _marked(facts, "tool", fields.get("tools"))
    return _renamed(facts, safety_identifier="metadata", user="metadata")


def _as_system(message: Body) -> dict[str, Any]:
    """OpenAI's newer name for the role is no difference."""
    role = "system" if message["role"] == "developer" else message["role"]
    return {**message, "role": role}


def _with_other_tools(fields: dict[str, Any], reader: Callable[[dict[str, Any]], Facts]) -> Facts:
    """What `reader` finds, and the tools that are no functions and a choice among several."""
    tools = fields.get("tools", ())
    fields["tools"] = [tool for tool in tools if tool["type"] == "function"]
    choice = fields.get("tool_choice")
    if several := isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        del fields["tool_choice"]
    facts = reader(fields)
    if several:
        facts["tool_choice", json.dumps(choice)] += 1
    for tool in tools:
        if tool["type"] != "function":
            facts["tools", tool.get("custom", tool).get("name") or tool["type"]] += 1
    return facts


def _part_extras(facts: Facts, part: Body) -> None:
    detail = part.get("detail") or part.get("image_url", {}).get("detail")
    if detail not in (None, "auto"):
        facts["detail", detail] += 1


def of_responses(body: Body) -> Facts:
    """A request of the Responses API."""
    fields = dict(body)
    told = dict(fields.pop("text", {}))
    form = told.pop("format", None)
    wanted = fields.pop("reasoning", {})
    if form and not _is_any_json(form):
        fields["text"] = {"format": form}
    facts = _with_other_tools(fields, read_responses)
    for name, said in told.items():
        facts[name, said] += 1
    _valued(facts, "service_tier", default="standard_only")
    if _is_any_json(form):
        facts["JSON without a schema", ""] += 1
    if wanted.get("effort") != "none" and wanted:
        facts["thinks", ""] += 1
    if "effort" in wanted:
        facts["output_config.effort", wanted["effort"]] += 1
    if "summary" in wanted:
        facts["thinking shown", ""] += 1
    for item in fields["input"]:
        content = item.get("content") or item.get("output")
        for part in content if isinstance(content, list) else ():
            _part_extras(facts, part)
    return _renamed(facts, safety_identifier="metadata", user="metadata")


ENGINE_FIELDS = ("temperature", "top_p", "top_k", "max_tokens", "stop_sequences", "thinking")
"""What the engine reads of a request beside the conversation, tools and format
(`plugins/llama-cpp/README.md`)."""


@cache
def _template() -> ChatTemplate:
    """The template of the demonstration model."""
    return ChatTemplate(read_header(model_path()).text("tokenizer.chat_template"))


def of_engine(body: Body) -> Facts:
    """What a model on this machine is given: the conversation as its template gets it, and the
    fields that the engine reads."""
    template = _template()
    made = build_conversation(body, family=detect_family(template.source), traits=template.traits)
    reading = Reading()
    own_ids: dict[str, str] = {}
    for message in made.messages:
        _told(reading, message, own_ids)
    if made.prefill:
        reading.said("assistant", made.prefill)
    for tool in tools_of(body)[0]:
        reading.add("tools.name", tool.name)
        reading.add("tools.description", tool.description)
        reading.schema(dict(tool.schema), tool.name[:8])
    for anchor in made.anchors:
        if anchor.kind == "cache_control":
            reading.add("cache_control", "system" if anchor.in_system else "user")
    choice = tool_choice_of(body)
    kept = {name: body[name] for name in ENGINE_FIELDS if name in body}
    kept["messages"] = []
    if choice.mode != "auto" or not choice.parallel:
        kept["tool_choice"] = body["tool_choice"]
    config = body.get("output_config", {})
    if "format" in config:
        kept["output_config"] = {"format": config["format"]}
    facts = of_messages(kept)
    del facts["system", ""]
    return facts + reading.facts


def _told(reading: Reading, message: Body, own_ids: dict[str, str]) -> None:
    role, content = message["role"], message.get("content") or ""
    if role == "system":
        reading.system([content])
        return
    if role == "tool":
        reading.add("result", message.get("tool_call_id", ""))
    if content:
        reading.said(role, content)
    for call in message.get("tool_calls", ()):
        function = call["function"]
        given = function["arguments"]
        given = json.loads(given) if isinstance(given, str) else given
        reading.add("call", [call.get("id", ""), function["name"], given])


READERS: Mapping[str, Callable[[Body], Facts]] = {
    "messages": of_messages,
    "chat": of_chat,
    "responses": of_responses,
    "gemini": of_gemini,
    "engine": of_engine,
}
"""By the API that a request is in; `engine` reads a Messages request."""
