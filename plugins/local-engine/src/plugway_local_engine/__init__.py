"""What the engines that run inside Plugway share: prompts, replies, grammars and worker processes.

The language side needs no engine; see the README. Names of constrained decoding are loaded when
first used, because the gateway's own process has no need of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from plugway_local_engine._call_reader import BARE_HEAD, CallReader
from plugway_local_engine._calls import MalformedCall
from plugway_local_engine._conversation import (
    Conversation,
    Mark,
    Prompt,
    build_conversation,
    render_prompt,
)
from plugway_local_engine._families import FAMILIES, CallFormat, Family, detect_family
from plugway_local_engine._output import OutputParser, PendingCall
from plugway_local_engine._parts import (
    CallArguments,
    CallEnd,
    CallError,
    CallStart,
    Part,
    TextDelta,
    ThinkingDelta,
    merged,
    to_events,
)
from plugway_local_engine._probe import TemplateTraits
from plugway_local_engine._spans import NOT_A_CALL
from plugway_local_engine._template import ChatTemplate, TemplateError, TemplateRefusal
from plugway_local_engine._tools import Tool, ToolChoice, tool_choice_of, tools_of
from plugway_local_engine._validate import check_arguments
from plugway_signature import Signature, parse_signature, signature

if TYPE_CHECKING:
    from plugway_local_engine._frames import Frame
    from plugway_local_engine._grammar import Constraint, arguments_constraint, build_constraint
    from plugway_local_engine._mask import GrammarError, GrammarTokenizer, TokenMask
    from plugway_local_engine._supervisor import Call, Limits, Supervisor, WorkerSpec
    from plugway_local_engine._worker import Channel, EngineFailed, LoadFailed

_LATER = {
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
    "BARE_HEAD",
    "FAMILIES",
    "NOT_A_CALL",
    "Call",
    "CallArguments",
    "CallEnd",
    "CallError",
    "CallFormat",
    "CallReader",
    "CallStart",
    "Channel",
    "ChatTemplate",
    "Constraint",
    "Conversation",
    "EngineFailed",
    "Family",
    "Frame",
    "GrammarError",
    "GrammarTokenizer",
    "Limits",
    "LoadFailed",
    "MalformedCall",
    "Mark",
    "OutputParser",
    "Part",
    "PendingCall",
    "Prompt",
    "Signature",
    "Supervisor",
    "TemplateError",
    "TemplateRefusal",
    "TemplateTraits",
    "TextDelta",
    "ThinkingDelta",
    "TokenMask",
    "Tool",
    "ToolChoice",
    "WorkerSpec",
    "arguments_constraint",
    "build_constraint",
    "build_conversation",
    "check_arguments",
    "detect_family",
    "merged",
    "parse_signature",
    "render_prompt",
    "signature",
    "to_events",
    "tool_choice_of",
    "tools_of",
]


def __getattr__(name: str) -> Any:
    module = _LATER.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{module}"), name)
