"""A Messages request as one of Chat Completions. Pure functions.

Fields: `types/chat/completion_create_params.py` of the `openai` SDK; what servers do otherwise is
in `Quirks` and in the ledger's facts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from plugway import as_list, as_object
from plugway_capabilities import WHO_ASKS
from plugway_openai_wire._policy import CACHE_KEY, OUTPUT, turns_in, user_hash
from plugway_openai_wire.chat._marks import Marks
from plugway_openai_wire.chat._messages import messages_of
from plugway_openai_wire.chat._policy import DEFAULT_STOPS, FIELDS, Target
from plugway_openai_wire.chat._tools import choice_of, is_chosen, names_of, offered, tools_of
from plugway_translation import (
    Effort,
    Notes,
    ToolNames,
    clamp_effort,
    clean_schema,
    closed_where_all_are_required,
    drop_by,
    effort_of,
    ids_of_calls,
    note_extras,
    shortened,
    strict_fits,
)

BYTES_PER_TOKEN: Final = 4
_NEEDED: Final = frozenset(("model", "messages", "tools"))
"""What a request cannot go without."""
_EFFORTS: Final = frozenset(("none", "minimal", "low", "medium", "high", "xhigh", "max"))


@dataclass(frozen=True, slots=True)
class Translated:
    """A request in the server's language, and what its answer has to be read with."""

    body: Mapping[str, Any]
    notes: Notes
    names: ToolNames
    target: Target
    stops: tuple[str, ...] = ()
    """All stop sequences that the client gave."""
    cut: tuple[str, ...] = ()
    """Those that the server was not told: the answer is cut here."""
    single: bool = False
    """Calls after the first are left out here."""
    warm_only: bool = False
    """The client asked for no answer at all (`max_tokens: 0`)."""
    used_ids: frozenset[str] = frozenset()
    """Ids of the calls in the conversation: those of the answer get others."""


def request_of(body: Mapping[str, Any], target: Target) -> Translated:
    """The request for `body`. Raises `InvalidRequest` where the policy is to refuse."""
    notes = Notes()
    drop_by(FIELDS, list(body), notes)
    tools = offered(body, target, notes)
    names = names_of(tools, target)
    found: dict[str, Any] = {"model": body.get("model")}
    marks = Marks(target, body.get("model"), notes)
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
    if body.get("stream") is True:
        found["stream"] = True
        if target.quirks.stream_usage:
            found["stream_options"] = {"include_usage": True}
    single |= _strip(found, target, notes)
    found = shortened(found, target.facts.length_limits, WHO_ASKS, notes)
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
    """Sets the choice of a tool; whether calls after the first are to be left out here."""
    value = body.get("tool_choice")
    if not tools:
        return False
    if not is_chosen(value, tools):
        notes.add("tool_choice", "drop", "the tool that it names is not offered")
    elif (choice := choice_of(value, target, names, notes)) is not None:
        found["tool_choice"] = choice
    if as_object(value).get("disable_parallel_tool_use") is not True:
        return False
    if target.quirks.parallel_flag and target.takes("parallel_tool_calls"):
        found["parallel_tool_calls"] = False
        return False
    notes.add("tool_choice.disable_parallel_tool_use", "emulate", "later calls are left out here")
    return True


def _limits(body: Mapping[str, Any], target: Target, notes: Notes) -> dict[str, Any]:
    wanted, most = body.get("max_tokens"), target.facts.max_output_tokens
    if not isinstance(wanted, int):
        return {}
    fits = min(wanted, most) if most else wanted
    if fits < wanted:
        notes.add("max_tokens", "translate", f"the model writes at most {most} tokens")
    if not fits:
        notes.add("max_tokens", "emulate", "1 instead of 0; the answer is left out")
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
    """Sets `stop`; all sequences, and those that the server is not told."""
    stops = tuple(s for s in as_list(body.get("stop_sequences")) if isinstance(s, str) and s)
    most = target.facts.stop_limit or DEFAULT_STOPS
    told = stops[:most] if target.takes("stop") else ()
    if told:
        found["stop"] = list(told)
    if cut := stops[len(told) :]:
        because = f"the server takes {len(told)}; for the others the answer is cut here"
        notes.add("stop_sequences", "emulate", because)
    return stops, cut


def _thinking(body: Mapping[str, Any], target: Target, notes: Notes) -> dict[str, Any]:
    """How much is to be thought, as this server is told."""
    thinking = as_object(body.get("thinking"))
    drop_by(OUTPUT, list(as_object(body.get("output_config"))), notes, "output_config.")
    effort = effort_of(body)
    style = target.quirks.reasoning
    effortless = target.quirks.effortless_tools
    if effortless and body.get("tools") and re.match(effortless, str(body.get("model"))):
        if effort not in (None, "none") or thinking:
            because = "this model does not think beside tools over this API"
            notes.add("thinking", "drop", f"{because}: `api: responses` lets it")
        return {"reasoning_effort": "none"}
    if style == "none":
        if effort is not None or thinking:
            notes.add("thinking", "drop", "how to ask this server for it is not known")
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
        notes.add("thinking", "drop", f"the server has no such word for `{effort}`")
        return {}
    return {"reasoning_effort": _effort(effort, target, notes)}


def _switched(
    effort: Effort | None, thinking: Mapping[str, Any], target: Target, notes: Notes
) -> dict[str, Any]:
    """DeepSeek: on by default, off by word; how much by `reasoning_effort`."""
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
    told = target.facts.allowed_values.get("reasoning_effort", ())
    known: tuple[Any, ...] = tuple(value for value in told if value in _EFFORTS)
    return known or target.quirks.efforts


def _effort(effort: Effort, target: Target, notes: Notes) -> Effort:
    fits = clamp_effort(effort, _known(target))
    if fits != effort:
        notes.add("output_config.effort", "translate", f"`{effort}` as `{fits}`")
    return fits


def _format(body: Mapping[str, Any], target: Target, notes: Notes) -> dict[str, Any]:
    wanted = as_object(as_object(body.get("output_config")).get("format"))
    wanted = wanted or as_object(body.get("output_format"))
    if wanted.get("type") != "json_schema" or not isinstance(wanted.get("schema"), dict):
        return {}
    given = closed_where_all_are_required(wanted["schema"])
    schema, cut = clean_schema(given, target.schemas, "output_config.format")
    match target.quirks.formats:
        case "schema":
            notes.extend(cut)
            made = {"name": "answer", "schema": schema, "strict": strict_fits(schema)}
            return {"response_format": {"type": "json_schema", "json_schema": made}}
        case "object":
            notes.add("output_config.format", "translate", "JSON, but not by the schema")
            return {"response_format": {"type": "json_object"}}
        case "none":
            notes.add("output_config.format", "drop", "the server has no such field")
            return {}


def _caller(body: Mapping[str, Any], target: Target, notes: Notes) -> dict[str, Any]:
    found: dict[str, Any] = {}
    quirks = target.quirks
    user_id = as_object(body.get("metadata")).get("user_id")
    if isinstance(user_id, str) and user_id:
        if quirks.user_field:
            found[quirks.user_field] = user_hash(user_id)
            notes.add("metadata.user_id", "translate", f"as a hash, in `{quirks.user_field}`")
        else:
            notes.add("metadata", "drop", "who asks is not told to this server")
    if quirks.cache_key_field and target.cache_key:
        found[quirks.cache_key_field] = target.cache_key
        notes.add(quirks.cache_key_field, "emulate", CACHE_KEY)
    return found


def _strip(found: dict[str, Any], target: Target, notes: Notes) -> bool:
    """Takes away what the server is known to refuse; whether that was the flag for one call.

    Parts of messages and tools were seen to where those were made.
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
        notes.add(path, "drop", "the server refuses it")
    return single


def estimated_tokens(body: Mapping[str, Any]) -> int:
    """Tokens of a prompt by its size, for servers that do not count."""
    kept = {name: body.get(name) for name in ("messages", "tools")}
    return max(1, len(orjson.dumps(kept)) // BYTES_PER_TOKEN)
