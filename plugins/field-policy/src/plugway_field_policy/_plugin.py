"""The plugin: applies the target's policy and records the changes.

`_presets` lists what servers accept; `_rewrite` changes conversation and tools.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from plugway import (
    REMOVE,
    Attempt,
    Exchange,
    InvalidRequest,
    MessagesRequest,
    Plugin,
    Reply,
    Send,
    StateKey,
    as_list,
    as_object,
    hookimpl,
)
from plugway_field_policy._options import FieldPolicyOptions
from plugway_field_policy._policy import Policy, policy_of
from plugway_field_policy._presets import REASONS
from plugway_field_policy._rewrite import Rewriter
from plugway_field_policy._threads import refusal
from plugway_translation import blocks_of

BETA_HEADER: Final = "anthropic-beta"
REFUSAL: StateKey[Reply | None] = StateKey("field-policy.refusal")
"""The error reply for the current attempt, if it must not be sent."""
_BETA: Final = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+){0,6}-20\d\d-?\d\d-?\d\d")


class FieldPolicy(Plugin[FieldPolicyOptions]):
    """Leaves requests to Anthropic unchanged, and adapts all others to their target."""

    def __init__(self, options: FieldPolicyOptions, *, name: str = "") -> None:
        super().__init__(options, name=name)
        self._policies: dict[str, Policy] = {}

    def check(self, zones: Mapping[str, str]) -> Sequence[tuple[tuple[str | int, ...], str]]:
        """Report backends that do not exist."""
        known = ", ".join(f"`{name}`" for name in zones) or "none"
        return [
            (("backends", name), f"unknown backend `{name}`; there are {known}")
            for name in self.options.backends
            if name not in zones
        ]

    @hookimpl
    def prepare_attempt(
        self, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> MessagesRequest | None:
        """Adapt the request to the target; None if nothing changes."""
        backend = attempt.backend
        policy = self._policies.get(backend.name)
        if policy is None:
            policy = self._policies[backend.name] = policy_of(backend, self.options)
        kept = policy.takes_field("thread")
        exchange.state[REFUSAL] = None if kept else refusal(request, attempt.target, exchange.id)
        return None if policy.untouched else adapted(request, policy)

    @hookimpl
    async def around_attempt(
        self, send: Send, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> Reply:
        """Return a 400 for fields that cannot be dropped without loss; send the rest."""
        refused = exchange.state.get(REFUSAL)
        if refused is not None:
            exchange.note(self.name, "rejected `thread`: the rest of the conversation is missing")
        return refused or await send(request, attempt)


def adapted(request: MessagesRequest, policy: Policy) -> MessagesRequest:
    """Apply a policy; returns the same object if nothing changes."""
    request = _fields(request, policy)
    request = _betas(request, policy)
    if policy.everything:
        return request
    request = _output_config(request, policy)
    request = _thinking(request, policy)
    return _contents(request, Rewriter(policy))


def _fields(request: MessagesRequest, policy: Policy) -> MessagesRequest:
    body = request.body
    if not policy.everything and body.keys() <= policy.fields:
        return request
    gone: dict[str, list[str]] = {}
    for name in body:
        if policy.takes_field(name):
            continue
        reason = REASONS.get(name, f"not a field that `{policy.preset}` is known to accept")
        if name in policy.drops:
            reason = "dropped by the configuration"
        gone.setdefault(reason, []).append(name)
    for reason, names in gone.items():
        request = request.without(names, because=reason)
    return request


def _betas(request: MessagesRequest, policy: Policy) -> MessagesRequest:
    lines = [value for name, value in request.headers if name == BETA_HEADER]
    if not lines:
        return request
    values = [value.strip() for value in ",".join(lines).split(",")]
    kept = [value for value in values if value and policy.takes_beta(value)]
    gone: dict[str, list[str]] = {}
    for value in values:
        if value and value not in kept:
            gone.setdefault(policy.beta_reason(value), []).append(value)
    if not gone:
        return request
    reason = "; ".join(
        f"{why}: {', '.join(value if _BETA.fullmatch(value) else 'another' for value in named)}"
        for why, named in gone.items()
    )
    line = ",".join(kept) or REMOVE
    return request.replace(because=reason, headers={BETA_HEADER: line})


def _output_config(request: MessagesRequest, policy: Policy) -> MessagesRequest:
    config = as_object(request.body.get("output_config"))
    if policy.output_keys is None or not config or config.keys() <= policy.output_keys:
        return request
    kept = {key: value for key, value in config.items() if key in policy.output_keys}
    gone = ", ".join(f"`{key[:64]}`" for key in config if key not in kept)
    return request.replace(
        because=f"`{policy.preset}` does not support {gone}", output_config=kept or REMOVE
    )


def _thinking(request: MessagesRequest, policy: Policy) -> MessagesRequest:
    """Remove `thinking` unless disabled: some servers accept only `disabled` for some models."""
    kind = as_object(request.body.get("thinking")).get("type")
    if "thinking" in policy.takes or "thinking" not in request.body or kind == "disabled":
        return request
    reason = f"`{policy.preset}` rejects it for models without thinking; others think by default"
    return request.replace(because=reason, thinking=REMOVE)


def _contents(request: MessagesRequest, rewriter: Rewriter) -> MessagesRequest:
    body = request.body
    tools = as_list(body.get("tools"))
    kept = rewriter.tools(tools)
    if kept is not tools:
        because = rewriter.because()
        request = request.replace(because=because, tools=kept or REMOVE)
        request = _tool_choice(request, tools, kept)
    messages = as_list(body.get("messages"))
    turns = rewriter.messages(messages)
    if not turns:  # only system turns: moving them would leave no turn to answer
        rewriter.hoisted.clear()
    elif turns is not messages:
        request = request.replace(because=rewriter.because(), messages=turns)
    rewriter.notes.clear()
    return _system(request, rewriter)


def _tool_choice(request: MessagesRequest, before: list[Any], kept: list[Any]) -> MessagesRequest:
    """Remove a choice of a dropped tool, which would be an error.

    Raises `InvalidRequest` if a call is forced: the model would call another tool, or none.
    """
    choice = as_object(request.body.get("tool_choice"))
    name = choice.get("name", ...)
    if not choice or (kept and name in [..., *(as_object(tool).get("name") for tool in kept)]):
        return request
    left_out = name is ... or name in [as_object(tool).get("name") for tool in before]
    if choice.get("type") in ("any", "tool") and left_out:
        which = "a call" if name is ... else f"`{name}`"
        raise InvalidRequest(
            f"tool_choice: it forces {which}, but tools that are specific to Anthropic and have no "
            "schema are left out for this server. Use `auto`, or a tool with an `input_schema`",
            retry=False,
        )
    because = "the named tool was left out"
    return request.replace(because=because, tool_choice=REMOVE)


def _system(request: MessagesRequest, rewriter: Rewriter) -> MessagesRequest:
    value = request.body.get("system")
    system = rewriter.system(value)
    if rewriter.hoisted:
        rewriter.notes["system turns added at the end, as configured"] += 1
        system = [*blocks_of(system), *rewriter.hoisted]
    if system is value:
        return request
    return request.replace(because=rewriter.because(), system=system or REMOVE)
