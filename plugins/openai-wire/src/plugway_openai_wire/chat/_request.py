"""Translates a Messages request into a Chat Completions request. Pure functions.

Fields: `types/chat/completion_create_params.py` of the `openai` SDK. `Quirks` and the ledger's
facts describe how servers differ.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from plugway import as_list, as_object
from plugway_capabilities import USER_FIELDS
from plugway_openai_wire._answer import FIELD, answer_schema, is_wrapped, schema_of
from plugway_openai_wire._carried import USERS
from plugway_openai_wire._policy import CACHE_KEY, OUTPUT, turns_in, user_hash
from plugway_openai_wire.chat._cache_markers import CacheMarkers
from plugway_openai_wire.chat._messages import messages_of
from plugway_openai_wire.chat._policy import DEFAULT_STOPS, FIELDS, Target
from plugway_openai_wire.chat._tools import choice_of, is_chosen, names_of, offered, tools_of
from plugway_translation import (
    Effort,
    Notes,
    ToolNames,
    clamp_effort,
    drop_by,
    ids_of_calls,
    note_extras,
    shortened,
    strict_fits,
)

BYTES_PER_TOKEN: Final = 4
_NEEDED: Final = frozenset(("model", "messages", "tools"))
"""Fields that are never removed."""
_EFFORTS: Final = frozenset(("none", "minimal", "low", "medium", "high", "xhigh", "max"))


@dataclass(frozen=True, slots=True)
class Translated:
    """A translated request, and what is needed to read its reply."""

    body: Mapping[str, Any]
    notes: Notes
    names: ToolNames
    target: Target
    stops: tuple[str, ...] = ()
    """All stop sequences of the client."""
    cut: tuple[str, ...] = ()
    """Stop sequences that are not sent: the gateway applies them."""
    single: bool = False
    """The gateway drops all calls but the first."""
    warm_only: bool = False
    """The client requested no output (`max_tokens: 0`)."""
    used_ids: frozenset[str] = frozenset()
    """Call ids in the conversation, which new calls must not reuse."""


def request_of(body: Mapping[str, Any], target: Target) -> Translated:
    """Translate `body`. Raises `InvalidRequest` if the media policy rejects it."""
    notes = Notes()
    drop_by(FIELDS, list(body), notes)
    tools = offered(body, target, notes)
    names = names_of(tools, target)
    found: dict[str, Any] = {"model": body.get("model")}
    marks = CacheMarkers(target, body.get("model"), notes)
    note_extras(as_list(body.get("system")), "system", marks.extras, notes)
    messages = turns_in(body, target.facts, target.media, notes)
    found["messages"] = messages_of(messages, body.get("system"), target, names, marks, notes)
    if tools:
        found["tools"] = tools_of(tools, target, names, notes)
    single = _choose(body, found, tools, target, names, notes)
    found |= _limits(body, target, notes)
    found |= _sampling(body, target, notes)
    stops, cut = _stops(body, found, target, notes)
    found |= _thinking(body, target, notes)
    found |= _format(body, target, notes)
    found |= _caller(body, target, notes)
    target.carried.add_to(found, target.facts, notes)
    if body.get("stream") is True:
        found["stream"] = True
        if target.quirks.stream_usage:
            found["stream_options"] = {"include_usage": True}
    single |= _strip(found, target, notes)
    found = shortened(found, target.facts.length_limits, USER_FIELDS, notes)
    found |= target.quirks.extra_body
    warm_only = body.get("max_tokens") == 0
    used = frozenset(ids_of_calls(messages))
    return Translated(found, notes, names, target, stops, cut, single, warm_only, used)


def _choose(
    body: Mapping[str, Any],
    found: dict[str, Any],
    tools: list[dict[str, Any]],
    target: Target,
    names: ToolNames,
    notes: Notes,
) -> bool:
    """Set `tool_choice`; return whether the gateway must drop all calls but the first."""
    value = body.get("tool_choice")
    if not tools:
        return False
    if not is_chosen(value, tools):
        notes.add("tool_choice", "drop", "the named tool is not offered")
    elif (choice := choice_of(value, target, names, notes)) is not None:
        found["tool_choice"] = choice
    if as_object(value).get("disable_parallel_tool_use") is not True:
        return False
    if target.quirks.parallel_flag and target.takes("parallel_tool_calls"):
        found["parallel_tool_calls"] = False
        return False
    notes.add(
        "tool_choice.disable_parallel_tool_use", "emulate", "the gateway leaves out later calls"
    )
    return True


def _limits(body: Mapping[str, Any], target: Target, notes: Notes) -> dict[str, Any]:
    wanted, most = body.get("max_tokens"), target.facts.max_output_tokens
    if not isinstance(wanted, int):
        return {}
    fits = min(wanted, most) if most else wanted
    if fits < wanted:
        notes.add("max_tokens", "translate", f"the model writes at most {most} tokens")
    if not fits:
        notes.add("max_tokens", "emulate", "1 instead of 0; the reply is left out")
    name = target.facts.output_limit_field or target.quirks.output_limit_field
    return {name: fits or 1}


def _sampling(body: Mapping[str, Any], target: Target, notes: Notes) -> dict[str, Any]:
    found = {name: body[name] for name in ("temperature", "top_p") if body.get(name) is not None}
    if (top_k := body.get("top_k")) is not None:
        if target.quirks.top_k:
            found["top_k"] = top_k
        else:
            notes.add("top_k", "drop", "the API has no such field")
    return found


def _stops(
    body: Mapping[str, Any], found: dict[str, Any], target: Target, notes: Notes
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Set `stop`; return all stop sequences, and those that are not sent."""
    stops = tuple(s for s in as_list(body.get("stop_sequences")) if isinstance(s, str) and s)
    most = target.facts.stop_limit or DEFAULT_STOPS
    sent = stops[:most] if target.takes("stop") else ()
    if sent:
        found["stop"] = list(sent)
    if cut := stops[len(sent) :]:
        because = f"the server accepts {len(sent)}; the gateway applies the rest"
        notes.add("stop_sequences", "emulate", because)
    return stops, cut


def _thinking(body: Mapping[str, Any], target: Target, notes: Notes) -> dict[str, Any]:
    """The thinking options in the server's form."""
    thinking = as_object(body.get("thinking"))
    drop_by(OUTPUT, list(as_object(body.get("output_config"))), notes, "output_config.")
    effort = target.carried.effort_of(body)
    style = target.quirks.reasoning
    effortless = target.quirks.effortless_tools
    if effortless and body.get("tools") and re.match(effortless, str(body.get("model"))):
        if effort not in (None, "none") or thinking:
            because = "over this API, this model does not think when it has tools"
            notes.add("thinking", "drop", f"{because}: `api: responses` allows it")
        return {"reasoning_effort": "none"}
    if style == "none":
        if effort is not None or thinking:
            notes.add("thinking", "drop", "how to request it from this server is unknown")
        return {}
    if style == "switch":
        return _switched(effort, thinking, target, notes)
    if style == "template":
        return {} if effort is None else {"chat_template_kwargs": _template(effort)}
    if effort is None:
        return {"reasoning": {"enabled": True}} if style == "object" and thinking else {}
    if style == "object":
        budget = thinking.get("budget_tokens")
        exact = isinstance(budget, int) and "effort" not in as_object(body.get("output_config"))
        wanted = {"max_tokens": budget} if exact else {"effort": _effort(effort, target, notes)}
        return {"reasoning": wanted}
    known = _known(target)
    if effort not in known and (effort == "none" or known == ("none",)):
        notes.add("thinking", "drop", f"the server has no equivalent of `{effort}`")
        return {}
    return {"reasoning_effort": _effort(effort, target, notes)}


def _switched(
    effort: Effort | None, thinking: Mapping[str, Any], target: Target, notes: Notes
) -> dict[str, Any]:
    """DeepSeek: thinking is on by default and has a switch; `reasoning_effort` sets how much."""
    if effort == "none":
        return {"thinking": {"type": "disabled"}}
    found: dict[str, Any] = {"thinking": {"type": "enabled"}} if thinking else {}
    if effort is not None:
        found["reasoning_effort"] = _effort(effort, target, notes)
    return found


def _template(effort: Effort) -> dict[str, Any]:
    if effort == "none":
        return {"enable_thinking": False}
    return {"enable_thinking": True, "reasoning_effort": effort}


def _known(target: Target) -> tuple[Effort, ...]:
    allowed = target.facts.allowed_values.get("reasoning_effort", ())
    known: tuple[Any, ...] = tuple(value for value in allowed if value in _EFFORTS)
    return known or target.quirks.efforts


def _effort(effort: Effort, target: Target, notes: Notes) -> Effort:
    fits = clamp_effort(effort, _known(target))
    if fits != effort:
        notes.add("output_config.effort", "translate", f"`{effort}` as `{fits}`")
    return fits


def _format(body: Mapping[str, Any], target: Target, notes: Notes) -> dict[str, Any]:
    if not isinstance(schema_of(body), dict):
        return {}
    match target.quirks.formats:
        case "schema":
            schema = answer_schema(body, target.schemas, notes)
            made = {"name": "answer", "schema": schema, "strict": strict_fits(schema)}
            return {"response_format": {"type": "json_schema", "json_schema": made}}
        case "object" if is_wrapped(body):
            notes.add(FIELD, "drop", "the server only makes objects")
            return {}
        case "object":
            notes.add(FIELD, "translate", "as JSON, without the schema")
            return {"response_format": {"type": "json_object"}}
        case "none":
            notes.add(FIELD, "drop", "the server has no such field")
            return {}


def _caller(body: Mapping[str, Any], target: Target, notes: Notes) -> dict[str, Any]:
    found: dict[str, Any] = {}
    quirks = target.quirks
    user_id = as_object(body.get("metadata")).get("user_id")
    if isinstance(user_id, str) and user_id and not USERS & target.carried.fields.keys():
        if quirks.user_field:
            found[quirks.user_field] = user_hash(user_id)
            notes.add("metadata.user_id", "translate", f"as a hash, in `{quirks.user_field}`")
        else:
            notes.add("metadata", "drop", "this server does not receive user ids")
    own_key = quirks.cache_key_field in target.carried.fields
    if quirks.cache_key_field and target.cache_key and not own_key:
        found[quirks.cache_key_field] = target.cache_key
        notes.add(quirks.cache_key_field, "emulate", CACHE_KEY)
    return found


def _strip(found: dict[str, Any], target: Target, notes: Notes) -> bool:
    """Remove fields that the server is known to reject; return whether one limited calls to one.

    Parts of messages and tools are handled where they are built.
    """
    single = False
    for path in sorted(target.facts.rejected_fields):
        name, _, part = path.partition(".")
        if name not in found or name in _NEEDED:
            continue
        if not part:
            del found[name]
        elif part in as_object(found[name]):
            found[name] = {key: v for key, v in found[name].items() if key != part}
            if not found[name]:
                del found[name]
        else:
            continue
        single |= name == "parallel_tool_calls"
        notes.add(path, "drop", "the server rejects it")
    return single


def estimated_tokens(body: Mapping[str, Any]) -> int:
    """Estimate the tokens of a prompt from its size, for servers that do not count."""
    kept = {name: body.get(name) for name in ("messages", "tools")}
    return max(1, len(orjson.dumps(kept)) // BYTES_PER_TOKEN)
