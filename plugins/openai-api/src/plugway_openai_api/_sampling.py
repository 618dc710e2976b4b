"""Request fields that Chat and Responses share, other than the conversation. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from plugway import Original, as_list, as_object
from plugway_openai_api._fields import (
    number,
    optional_object,
    optional_text,
    wrong_type,
    wrong_value,
)
from plugway_translation import Notes, hashed

MOST_USER: Final = 256
"""Maximum characters of `metadata.user_id`."""
EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


def sampling(body: Mapping[str, Any], notes: Notes) -> dict[str, Any]:
    """`temperature` and `top_p`. Raises `InvalidRequest`."""
    found: dict[str, Any] = {}
    if (temperature := number(body, "temperature", 0, 2)) is not None:
        if temperature > 1:
            notes.add("temperature", "translate", "the maximum in the Messages API is 1")
        found["temperature"] = min(temperature, 1)
    if (top_p := number(body, "top_p", 0, 1)) is not None:
        found["top_p"] = top_p
    return found


def stops(body: Mapping[str, Any], notes: Notes) -> dict[str, Any]:
    """`stop_sequences`. Raises `InvalidRequest`."""
    value = body.get("stop")
    if value is None:
        return {}
    found = [value] if isinstance(value, str) else as_list(value)
    if not isinstance(value, str | list) or not all(isinstance(item, str) for item in found):
        raise wrong_type("stop", "a string or an array of strings", value)
    kept = [item for item in found if item]
    if len(kept) < len(found):
        notes.add("stop", "drop", "an empty string is not a stop sequence")
    return {"stop_sequences": kept} if kept else {}


def who(body: Mapping[str, Any]) -> dict[str, Any]:
    """`metadata.user_id`, from `safety_identifier` or `user`. Raises `InvalidRequest`.

    The value is hashed if it is longer than Anthropic's limit of 256 characters
    (`types/metadata_param.py` of the `anthropic` SDK has the field), or is an e-mail address, which
    Anthropic rejects.
    """
    found = optional_text(body, "safety_identifier", "safety_identifier")
    found = found or optional_text(body, "user", "user")
    if found and (len(found) > MOST_USER or "@" in found):
        found = hashed(found)
    return {"metadata": {"user_id": found}} if found else {}


def wants_json(body: Mapping[str, Any] | Original) -> bool:
    """Whether a request of either API asks for any JSON object (`json_object`)."""
    form = body.get("response_format") or as_object(body.get("text")).get("format")
    return as_object(form).get("type") == "json_object"


def format_of(form: Mapping[str, Any], path: str, nested: str = "") -> tuple[dict[str, Any], bool]:
    """Return `output_config` for a response format, and whether any JSON object is requested.

    Chat nests the schema under `nested`; Responses puts it beside the type. Raises
    `InvalidRequest`.
    """
    match form.get("type"):
        case None | "text":
            return {}, False
        case "json_object":
            return {}, True
        case "json_schema":
            holder = optional_object(form, nested, f"{path}.{nested}") if nested else form
            at = f"{path}.{nested}.schema" if nested else f"{path}.schema"
            schema = optional_object(holder, "schema", at)
            if not schema:
                return {}, True
            return {"format": {"type": "json_schema", "schema": schema}}, False
        case other:
            raise wrong_value(f"{path}.type", other, "'text', 'json_object' and 'json_schema'")


def thinking(
    effort: str, path: str, config: Mapping[str, Any], notes: Notes, *, shown: bool = False
) -> dict[str, Any]:
    """`thinking` and `output_config`; `shown` requests visible thinking. Raises `InvalidRequest`.

    Uses `adaptive` rather than a budget: with a budget Anthropic rejects a conversation whose last
    tool call lacks its thinking, which Chat cannot send back.
    """
    if effort and effort not in EFFORTS:
        raise wrong_value(path, effort, ", ".join(f"'{known}'" for known in EFFORTS))
    if effort == "minimal":
        notes.add(path, "translate", "`low` is the lowest effort in the Messages API")
        effort = "low"
    found: dict[str, Any] = {}
    config = dict(config)
    if effort == "none":
        found["thinking"] = {"type": "disabled"}
    elif effort or shown:
        found["thinking"] = {"type": "adaptive"}
        if shown:
            found["thinking"]["display"] = "summarized"
        if effort:
            config["effort"] = effort
    return {**found, "output_config": config} if config else found


def settle(found: dict[str, Any], path: str, notes: Notes) -> None:
    """Remove `thinking` if a tool call is forced: Anthropic rejects the combination."""
    forced = as_object(found.get("tool_choice")).get("type") in ("any", "tool")
    if forced and as_object(found.get("thinking")).get("type") == "adaptive":
        del found["thinking"]
        notes.add(path, "translate", "a forced call disables thinking; the effort stays")
