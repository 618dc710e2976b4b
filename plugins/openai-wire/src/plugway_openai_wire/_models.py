"""Reads the model lists of servers of OpenAI's APIs. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from plugway import ModelInfo, as_list, as_object, named_entries
from plugway_anthropic_wire import model_of, positive, toolless_notice
from plugway_capabilities import Facts


def models_of(listed: Any, facts: Callable[[str], Facts]) -> list[ModelInfo]:
    """The chat models of a list; the list is an array or an object with `data`."""
    entries = as_list(listed) or as_list(as_object(listed).get("data"))
    return [_info(e, facts(e["id"])) for e in named_entries(entries) if _chats(e)]


def _chats(entry: Mapping[str, Any]) -> bool:
    """Whether the entry is a chat model, by `type` (Together, LM Studio) or `capabilities`
    (Mistral); True if the list does not say."""
    able = as_object(entry.get("capabilities"))
    if able.get("completion_chat") is False:
        return False
    kind = entry.get("type")
    return kind in (None, "", "chat", "language", "llm", "vlm", "model", "code") or (
        kind == "base" and "completion_chat" in able
    )


def _info(entry: Mapping[str, Any], facts: Facts) -> ModelInfo:
    info = model_of({**entry, "capabilities": None})
    top = as_object(entry.get("top_provider"))  # OpenRouter
    window = info.context_tokens or positive(top.get("context_length")) or facts.context_tokens
    longest = (
        positive(top.get("max_completion_tokens"))
        or positive(entry.get("max_completion_tokens"))  # Groq
        or info.max_output_tokens
        or facts.max_output_tokens
    )
    name = info.display_name or str(entry.get("name") or "")
    capabilities = _capabilities(entry)
    says = "supported_parameters" in entry or "function_calling" in as_object(
        entry.get("capabilities")
    )
    return replace(
        info,
        display_name=name if name != info.id else "",
        context_tokens=window,
        max_output_tokens=longest,
        capabilities=capabilities,
        notice=toolless_notice(info.id) if says and "tools" not in capabilities else "",
    )


def _capabilities(entry: Mapping[str, Any]) -> frozenset[str]:
    """`supported_parameters` and `architecture` (OpenRouter), `capabilities` (Mistral)."""
    takes = set(map(str, as_list(entry.get("supported_parameters"))))
    sees = as_list(as_object(entry.get("architecture")).get("input_modalities"))
    able = as_object(entry.get("capabilities"))
    found = {
        "tools": "tools" in takes or able.get("function_calling") is True,
        "images": "image" in sees or able.get("vision") is True,
        "thinking": "reasoning" in takes or able.get("reasoning") is True,
        "structured_output": "structured_outputs" in takes,
    }
    return frozenset(name for name, holds in found.items() if holds)
