"""Shared parts of the engines that run inside Plugway: prompts, grammars and worker processes.

The language part needs no engine; see the README. All names are imported on first use, because the
gateway's own process does not need constrained decoding, and a worker starts faster with less.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plugway_local_engine._backend import EngineBackend
    from plugway_local_engine._conversation import (
        Conversation,
        Mark,
        Prompt,
        build_conversation,
        render_prompt,
    )
    from plugway_local_engine._frames import Frame
    from plugway_local_engine._generation import (
        check_choice,
        count_tokens,
        free_states,
        generate,
    )
    from plugway_local_engine._grammar import Constraint, arguments_constraint, build_constraint
    from plugway_local_engine._loader import EngineLoader, Loaded
    from plugway_local_engine._mask import GrammarError, GrammarTokenizer, TokenMask
    from plugway_local_engine._probe import TemplateTraits
    from plugway_local_engine._refusal import raise_error
    from plugway_local_engine._supervisor import Call, Limits, Supervisor, WorkerSpec
    from plugway_local_engine._template import ChatTemplate, TemplateError, TemplateRefusal
    from plugway_local_engine._tools import ToolChoice, tool_choice_of, tools_of
    from plugway_local_engine._worker import Channel, EngineFailed, LoadFailed

_LATER = {
    "EngineBackend": "_backend",
    "EngineLoader": "_loader",
    "Loaded": "_loader",
    "check_choice": "_generation",
    "count_tokens": "_generation",
    "free_states": "_generation",
    "generate": "_generation",
    "raise_error": "_refusal",
    "Conversation": "_conversation",
    "Mark": "_conversation",
    "Prompt": "_conversation",
    "build_conversation": "_conversation",
    "render_prompt": "_conversation",
    "TemplateTraits": "_probe",
    "ChatTemplate": "_template",
    "TemplateError": "_template",
    "TemplateRefusal": "_template",
    "ToolChoice": "_tools",
    "tool_choice_of": "_tools",
    "tools_of": "_tools",
    "Constraint": "_grammar",
    "arguments_constraint": "_grammar",
    "build_constraint": "_grammar",
    "GrammarError": "_mask",
    "GrammarTokenizer": "_mask",
    "TokenMask": "_mask",
    "Call": "_supervisor",
    "Limits": "_supervisor",
    "Supervisor": "_supervisor",
    "WorkerSpec": "_supervisor",
    "Frame": "_frames",
    "Channel": "_worker",
    "EngineFailed": "_worker",
    "LoadFailed": "_worker",
}

__all__ = [
    "Call",
    "Channel",
    "ChatTemplate",
    "Constraint",
    "Conversation",
    "EngineBackend",
    "EngineFailed",
    "EngineLoader",
    "Frame",
    "GrammarError",
    "GrammarTokenizer",
    "Limits",
    "LoadFailed",
    "Loaded",
    "Mark",
    "Prompt",
    "Supervisor",
    "TemplateError",
    "TemplateRefusal",
    "TemplateTraits",
    "TokenMask",
    "ToolChoice",
    "WorkerSpec",
    "arguments_constraint",
    "build_constraint",
    "build_conversation",
    "check_choice",
    "count_tokens",
    "free_states",
    "generate",
    "raise_error",
    "render_prompt",
    "tool_choice_of",
    "tools_of",
]


def __getattr__(name: str) -> Any:
    module = _LATER.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{module}"), name)
