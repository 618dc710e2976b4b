"""The replies to the user: one line each, with the way back or the fix."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final

from plugway import MessagesRequest
from plugway_endpoints import Advises, Endpoint, Served, choices_text, close_to, needs_of

NO_SESSION: Final = (
    "This client sends no session id (header `x-claude-code-session-id`), so a switch cannot be "
    "remembered: choose the model in the client, or write `@plugway use NAME for this`."
)
_HOW: Final = (
    "`@plugway use NAME` switches this conversation; `@plugway use NAME for this` only this turn, "
    "`@plugway use NAME for agents` only its subagents. `@plugway use default` switches back,  "
    "`@plugway recommend` recommends one."
)


def switched(endpoint: Endpoint, agents: bool, tokens: int) -> str:
    """The confirmation of a switch."""
    who = "Subagents of this conversation are" if agents else "This conversation is"
    text = f"{who} served by {endpoint.described()} from the next turn on"
    window = endpoint.info.context_tokens
    if window and tokens > window and not agents:
        text += f"; it has about {tokens:,} tokens, so run `/compact` before the next turn"
    return f"{text}. `@plugway use default` switches back."


def back(was: bool) -> str:
    """The confirmation of switching back."""
    if was:
        return "Back to the configured model from the next turn on."
    return "The configured model serves this conversation already."


def ambiguous(name: str, found: Sequence[Endpoint]) -> str:
    """The reply to a name that matches several endpoints."""
    return (
        f"`{name}` is ambiguous: {choices_text(found)}. Nothing was switched: write "
        f"`@plugway use {found[0].id}`, or use another of them."
    )


def silent(endpoints: Sequence[Endpoint], instances: Iterable[str]) -> list[str]:
    """Configured backends that listed no models, so they cannot be chosen."""
    heard = {endpoint.instance for endpoint in endpoints}
    return [instance for instance in instances if instance not in heard]


def unknown(name: str, endpoints: Sequence[Endpoint], instances: Iterable[str]) -> str:
    """The reply to an unknown name, or to a backend that listed no models."""
    if not endpoints:
        return (
            "No backend lists any models: run `plugway doctor` to find out why. "
            "Nothing was switched."
        )
    if name.casefold() in (instance.casefold() for instance in silent(endpoints, instances)):
        return (
            f"`{name}` lists no models: run `plugway doctor` to find out why. Nothing was switched."
        )
    near = close_to(name, endpoints)
    hint = f" Did you mean {choices_text(near)}?" if near else ""
    return (
        f"Unknown endpoint `{name}`.{hint} Known: {choices_text(endpoints)}. Nothing was switched."
    )


def advice(
    advisor: Advises | None,
    request: MessagesRequest,
    endpoints: Sequence[Endpoint],
    last: Served | None,
    now: str,
    refusal: Callable[[Endpoint], str],
) -> str:
    """The advice of the plugin `recommend` for the conversation; `now` serves its next turn.

    Only endpoints that the conversation may go to are considered; `refusal` gives the reason for
    the rest.
    """
    if advisor is None:
        return "The plugin `recommend` is not configured. Add `- use: recommend` under `plugins`."
    needs = needs_of(request)
    if last is not None and last.prompt_tokens:
        needs = replace(needs, tokens=last.prompt_tokens, counted=True)
    refused = {e.id: why for e in endpoints if e.id != now and (why := refusal(e))}
    found = advisor.advise(needs, [e for e in endpoints if e.id not in refused], now)
    lines = [*found.others, *refused.values()]
    return "\n".join([found.reason, *(f"- {line}" for line in lines)])


def listing(endpoints: Sequence[Endpoint], instances: Iterable[str], now: str, lost: bool) -> str:
    """The endpoints and how to switch; `now` is the sentence on the next turn."""
    lines = [
        f"- {e.described()}{', loaded' if e.info.state == 'loaded' else ''}" for e in endpoints
    ]
    lines += [
        f"- `{instance}` lists no models: run `plugway doctor` to find out why"
        for instance in silent(endpoints, instances)
    ]
    start = ["Unknown command."] if lost else []
    return "\n".join([" ".join([*start, now, _HOW]), *lines])
