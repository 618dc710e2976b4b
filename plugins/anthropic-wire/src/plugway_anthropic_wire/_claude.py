"""The features of each Claude model, and requests adapted to them. Pure functions.

Applies only to requests written for another model or API: a client's request to the model that it
names is sent unchanged, until the API refuses it.

Sources: of platform.claude.com/docs "Extended thinking" (budgets from 1,024 tokens, below
`max_tokens`; `temperature` and `top_k` not beside thinking, `top_p` from 0.95 on; a turn with calls
begins with its thinking), "Adaptive thinking", "Thinking" (what cannot be switched off), "Effort",
"Migration guide", "Models overview" and its earlier versions (output), and of "Errors" the part
"Common validation errors" (no prefill, no forced tool, no blank stop sequence); from which version
on it holds, also as "AI Gateway Anthropic Reasoning" of Vercel (thinking) and the migration guides
for Claude 4.7 and Claude 5 Sonnet of OpenRouter (sampling fields, `xhigh`) have it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from plugway import REMOVE, MessagesRequest, as_list, as_object
from plugway_anthropic_wire._system_turns import without_end
from plugway_translation import CONTINUE

EFFORTS: Final = ("low", "medium", "high", "xhigh", "max")
LEAST_BUDGET: Final = 1024
_BUDGETS: Final = {"low": 2048, "medium": 8192, "high": 16384, "xhigh": 24576, "max": 32768}
"""Thinking budgets, in tokens, that correspond to efforts."""
_SAMPLING: Final = ("temperature", "top_p", "top_k")
_LEAST_TOP_P: Final = 0.95
_ALWAYS_THINK: Final = ("fable", "mythos")
"""Families that always think."""
_NAME: Final = re.compile(
    r"claude-(?:(?P<family>[a-z]+)-(?P<major>\d{1,2})(?!\d)(?:[-.](?P<minor>\d{1,2})(?!\d))?"
    r"|(?P<first>\d)(?:[-.](?P<second>\d))?-(?P<kind>[a-z]+))"
)
"""`claude-sonnet-4-5-20250929`, `anthropic/claude-opus-4.7`, `claude-3-7-sonnet-20250219`."""
_UNVERSIONED: Final = re.compile(r"\bclaude(?:-(?P<family>[a-z]+))?(?:-latest)?\b")
_OLDEST: Final = re.compile(r"\bclaude-(?:instant|v?[12]\b)")
NEWEST: Final = (99, 0)
"""The version of names without one (`claude-opus-latest`, an alias): the newest is strictest."""


@dataclass(frozen=True, slots=True)
class Claude:
    """A Claude model, identified by its name."""

    family: str
    version: tuple[int, int]

    @classmethod
    @lru_cache(maxsize=256)
    def named(cls, model: str) -> Claude | None:
        """The model with that name; None if it is not a Claude model."""
        name = model.lower()
        found = _NAME.search(name)
        if found is None and _OLDEST.search(name):
            return cls("", (2, 0))
        if found is None:
            alias = _UNVERSIONED.search(name)
            return cls(alias["family"] or "", NEWEST) if alias else None
        major, minor = found["major"] or found["first"], found["minor"] or found["second"] or "0"
        return cls(found["family"] or found["kind"], (int(major), int(minor)))

    @property
    def thinks(self) -> bool:
        """Whether it supports extended thinking."""
        return self.version >= (3, 7)

    @property
    def adaptive(self) -> bool:
        """Whether it supports `thinking: adaptive`."""
        return self.version >= (4, 6)

    @property
    def budgets(self) -> bool:
        """Whether it supports `thinking: enabled` with a budget."""
        return (3, 7) <= self.version < (4, 7)

    @property
    def efforts(self) -> tuple[str, ...]:
        """The supported values of `output_config.effort`."""
        if self.version >= (4, 7):
            return EFFORTS
        if self.version >= (4, 6):
            return "low", "medium", "high", "max"
        return EFFORTS[:3] if (self.family, self.version) == ("opus", (4, 5)) else ()

    @property
    def supports_sampling(self) -> bool:
        """Whether it supports `temperature`, `top_p` and `top_k`."""
        return self.version < (4, 7)

    @property
    def one_sampling_field(self) -> bool:
        """Whether it supports only one of `temperature` and `top_p` at a time."""
        return self.version >= (4, 1)

    @property
    def off(self) -> str:
        """The `thinking.type` that disables thinking; empty if it always thinks."""
        newest = self.version >= (5, 5)
        if self.family in _ALWAYS_THINK or (newest and self.family == "opus"):
            return ""
        return "between_tools" if newest and self.family == "sonnet" else "disabled"

    @property
    def always_thinks_at_high_effort(self) -> bool:
        """Whether it always thinks at the two highest efforts."""
        return self.version >= (5, 0) and (self.family, self.version) != ("sonnet", (5, 0))

    @property
    def allows_forced_calls(self) -> bool:
        """Whether it supports `tool_choice` `any` and `tool`."""
        first = (5, 1) if self.family in _ALWAYS_THINK else (5, 5)
        return self.family == "haiku" or self.version < first

    @property
    def takes_system_turns(self) -> bool:
        """Whether it supports the role `system` after the first turn."""
        return self.version >= (4, 8)

    @property
    def most_output(self) -> int:
        """The highest `max_tokens` that it accepts."""
        if self.version < (3, 7):
            return 8192 if self.version >= (3, 5) else 4096
        if self.family == "opus" and self.version < (4, 5):
            return 32_000
        alias = self == Claude("haiku", NEWEST)  # of Haiku 4.5, or of a newer one
        return 64_000 if alias or self.version < (4, 6) else 128_000

    @property
    def supports_prefill(self) -> bool:
        """Whether it continues a prefilled reply ("Migration guide", Claude Opus 4.6)."""
        return self.version < (4, 6)


def fitted(request: MessagesRequest, claude: Claude) -> MessagesRequest:
    """Remove what the model rejects; returns the same object if nothing changes."""
    request = within_output(request, claude.most_output)
    body = request.body
    effort = as_object(body.get("output_config")).get("effort")
    if "thinking" in body:
        request = _thinking(request, claude, effort if isinstance(effort, str) else "")
    if effort is not None:
        request = _effort(request, claude, effort)
    if any(name in body for name in _SAMPLING):
        request = _sampling(request, claude)
    if (
        as_object(body.get("tool_choice")).get("type") in ("any", "tool")
        and not claude.allows_forced_calls
    ):
        choice = {**as_object(body["tool_choice"]), "type": "auto"}
        choice.pop("name", None)
        because = "this Claude model does not support forced tool calls"
        request = request.replace(because=because, tool_choice=choice)
    return _last_turn(_plain_lists(_unthinking_edits(request)), claude)


def within_output(request: MessagesRequest, most: int) -> MessagesRequest:
    """Lower `max_tokens` to the model's limit, and a thinking budget below it."""
    wanted = request.get("max_tokens")
    if not isinstance(wanted, int) or wanted <= most:
        return request
    because = f"this Claude model writes at most {most} tokens"
    thinking = as_object(request.get("thinking"))
    budget = thinking.get("budget_tokens")
    if isinstance(budget, int) and budget >= most:
        thinking = {**thinking, "budget_tokens": most * 3 // 4}
        request = request.replace(because=because, thinking=thinking)
    return request.replace(because=because, max_tokens=most)


def _plain_lists(request: MessagesRequest) -> MessagesRequest:
    """Remove blank stop sequences and duplicate tools."""
    stops = as_list(request.get("stop_sequences"))
    kept = [stop for stop in stops if not isinstance(stop, str) or stop.strip()]
    if len(kept) < len(stops):
        because = "Claude models reject blank stop sequences"
        request = request.replace(because=because, stop_sequences=kept or REMOVE)
    tools = as_list(request.get("tools"))
    once: dict[Any, Any] = {}
    for tool in tools:
        once.setdefault(str(as_object(tool).get("name")), tool)
    if len(once) < len(tools):
        because = "Claude models reject duplicate tool names"
        request = request.replace(because=because, tools=list(once.values()))
    return request


def _unthinking_edits(request: MessagesRequest) -> MessagesRequest:
    """Remove edits of thinking if the model does not think: the API rejects them then."""
    management = as_object(request.get("context_management"))
    edits = as_list(management.get("edits"))
    kept = [e for e in edits if not str(as_object(e).get("type")).startswith("clear_thinking")]
    thinks = as_object(request.get("thinking")).get("type") in ("adaptive", "enabled")
    if thinks or len(kept) == len(edits):
        return request
    because = "edits of thinking require thinking"
    left = {**management, "edits": kept} if kept else REMOVE
    return request.replace(because=because, context_management=left)


def _last_turn(request: MessagesRequest, claude: Claude) -> MessagesRequest:
    """Add a user turn after a prefilled reply, or remove its trailing blanks."""
    messages = as_list(request.get("messages"))
    last = as_object(messages[-1]) if messages else {}
    if last.get("role") != "assistant" or not last.get("content"):
        return request
    thinks = as_object(request.get("thinking")).get("type") in ("adaptive", "enabled")
    if thinks or not claude.supports_prefill:
        because = "this Claude model rejects a prefilled reply: a user turn asks it to continue"
        asked = {"role": "user", "content": [{"type": "text", "text": CONTINUE}]}
        return request.replace(because=because, messages=[*messages, asked])
    if (ended := without_end(last)) is last:
        return request
    because = "Claude models reject trailing blanks in a prefilled reply"
    return request.replace(because=because, messages=[*messages[:-1], ended])


def _thinking(request: MessagesRequest, claude: Claude, effort: str) -> MessagesRequest:
    thinking = as_object(request.get("thinking"))
    kind = thinking.get("type")
    if not claude.thinks:
        return request.replace(
            because="this Claude model does not support thinking", thinking=REMOVE
        )
    if kind == "adaptive" and not claude.adaptive:
        return _budgeted(request, effort)
    if kind == "disabled" and claude.off != "disabled":
        return _least(request, claude, effort)
    if kind == "enabled" and not claude.budgets:
        because = "this Claude model accepts no budget: it decides how much to think"
        kept = {"type": "adaptive"} | {k: v for k, v in thinking.items() if k == "display"}
        config = as_object(request.get("output_config"))
        if not effort:
            config = {**config, "effort": _effort_of(thinking.get("budget_tokens"))}
        return request.replace(because=because, thinking=kept, output_config=config)
    return request


def _least(request: MessagesRequest, claude: Claude, effort: str) -> MessagesRequest:
    """Set the least thinking, for models that cannot disable it."""
    if claude.off:
        because = "this Claude model can only turn off thinking between tools"
        return request.replace(because=because, thinking={"type": claude.off})
    because = "this Claude model always thinks: set to the least thinking"
    config = {**as_object(request.get("output_config")), "effort": effort or "low"}
    return request.replace(because=because, thinking=REMOVE, output_config=config)


def _budgeted(request: MessagesRequest, effort: str) -> MessagesRequest:
    """Replace `adaptive` by `enabled` with a budget, if the model accepts it here."""
    most = request.get("max_tokens")
    room = most * 3 // 4 if isinstance(most, int) else 0
    if room < LEAST_BUDGET:
        because = f"this Claude model needs {LEAST_BUDGET} tokens to think: there is no room"
        return request.replace(because=because, thinking=REMOVE)
    if _acts_unthinking(as_list(request.get("messages"))):
        because = "this Claude model requires the thinking before the last calls, which is missing"
        return request.replace(because=because, thinking=REMOVE)
    budget = min(_BUDGETS.get(effort, _BUDGETS["medium"]), room)
    because = f"this Claude model needs a thinking budget: set to {budget} tokens"
    return request.replace(because=because, thinking={"type": "enabled", "budget_tokens": budget})


def _acts_unthinking(messages: list[Any]) -> bool:
    """Whether the last assistant turn has a call but does not start with thinking."""
    turns = [as_object(message) for message in messages]
    replies = [turn for turn in turns if turn.get("role") == "assistant"]
    last = replies[-1] if replies else dict[str, Any]()
    kinds = [as_object(block).get("type") for block in as_list(last.get("content"))]
    return "tool_use" in kinds and kinds[0] not in ("thinking", "redacted_thinking")


def _effort_of(budget: Any) -> str:
    tokens = budget if isinstance(budget, int) else _BUDGETS["medium"]
    return next((effort for effort, most in _BUDGETS.items() if tokens <= most), "max")


def _effort(request: MessagesRequest, claude: Claude, effort: Any) -> MessagesRequest:
    config = as_object(request.get("output_config"))
    off = as_object(request.get("thinking")).get("type") in ("disabled", "between_tools")
    if effort in EFFORTS[3:] and off and claude.always_thinks_at_high_effort:
        because = "without thinking, the highest effort of this Claude model is `high`"
        return request.replace(because=because, output_config={**config, "effort": "high"})
    if effort in claude.efforts or effort not in EFFORTS:
        return request
    lower = EFFORTS[: EFFORTS.index(effort)]
    fit = next((known for known in reversed(lower) if known in claude.efforts), None)
    if fit is not None:
        because = f"this Claude model does not support `{effort}`: lowered to `{fit}`"
        return request.replace(because=because, output_config={**config, "effort": fit})
    kept = {name: value for name, value in config.items() if name != "effort"}
    because = "this Claude model does not support effort"
    return request.replace(because=because, output_config=kept or REMOVE)


def _sampling(request: MessagesRequest, claude: Claude) -> MessagesRequest:
    body = request.body
    if not claude.supports_sampling:
        because = "this Claude model does not support sampling fields"
        return request.without(_SAMPLING, because=because)
    if as_object(body.get("thinking")).get("type") in ("adaptive", "enabled"):
        gone = [name for name in _SAMPLING if name in body and not _beside_thinking(name, body)]
        request = request.without(gone, because="Claude models reject it while thinking")
    if claude.one_sampling_field and {"temperature", "top_p"} <= request.body.keys():
        because = "this Claude model accepts only one of `temperature` and `top_p`"
        request = request.replace(because=because, top_p=REMOVE)
    return request


def _beside_thinking(name: str, body: Mapping[str, Any]) -> bool:
    value = body[name]
    if name == "temperature":
        return value == 1
    return name == "top_p" and isinstance(value, int | float) and value >= _LEAST_TOP_P
