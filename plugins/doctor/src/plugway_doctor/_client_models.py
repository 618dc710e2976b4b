"""Checks of the models that Claude Code's settings name: whether the gateway serves and lists
them, and whether the client knows their windows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from functools import partial

import anyio

from plugway import LocalGateway, PlugwayError, as_list, as_object
from plugway_doctor._checks import Check
from plugway_doctor._settings_files import ClientSettings, Setting
from plugway_doctor._stack import scales_usage
from plugway_probe import ListedModel, probe

_SLOTS = ("OPUS", "SONNET", "HAIKU", "FABLE")
_ALIASES = frozenset(("default", "best", "opusplan", "inherit", *map(str.lower, _SLOTS)))
"""Names that the client itself maps to ids (code.claude.com/docs/en/model-config)."""
_NAMED = (
    "ANTHROPIC_MODEL",
    *(f"ANTHROPIC_DEFAULT_{slot}_MODEL" for slot in _SLOTS),
    "ANTHROPIC_SMALL_FAST_MODEL",
    "CLAUDE_CODE_SUBAGENT_MODEL",
    "ANTHROPIC_CUSTOM_MODEL_OPTION",
)
_ITS_OWN = "claude-sonnet-5"
"""Model that the client requests if no setting names one (seen with 2.1.332)."""
_REAL = re.compile(r"^claude-|claude-(opus|sonnet|haiku|fable)", re.IGNORECASE)
"""Ids whose window the client hard-codes and does not read from elsewhere."""
_WINDOW = "CLAUDE_CODE_MAX_CONTEXT_TOKENS"
_COMPACT = "CLAUDE_CODE_AUTO_COMPACT_WINDOW"
_ASSUMED = 200_000
"""Smallest window that the client assumes for an unknown model (2.1.332)."""
_DISCOVERY = "CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY"
_QUIET = "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"
_SECONDS = 20.0
_PREFIX = "anthropic/"


def discovery(settings: ClientSettings) -> Check:
    """Whether `/model` requests the gateway's models."""
    name = "model discovery"
    switch, quiet = settings.variable(_DISCOVERY), settings.variable(_QUIET)
    if quiet is not None:
        reason = f"{quiet.place} disables it, with any value: `/model` does not request models"
        return Check(name, "warned", reason, quiet.fix(f"remove {_QUIET}"))
    if switch is not None and switch.is_on:
        return Check(name, "passed", f"{switch.place} makes `/model` show the gateway's models")
    where = f"{switch.place} is off" if switch else f"{_DISCOVERY} is not set"
    fix = f"set {_DISCOVERY} to 1, or run `plugway setup claude-code`"
    reason = f"{where}: `/model` does not show the gateway's models"
    return Check(name, "warned", reason, switch.fix(fix) if switch else fix)


def all_of(
    gateway: LocalGateway, settings: ClientSettings, models: Sequence[ListedModel], seconds: float
) -> Iterator[Check]:
    """Checks against the models that the gateway lists."""
    yield from named(gateway, settings, models, seconds)
    yield from available(settings, models)
    yield configured_window(gateway, settings, models)


def named(
    gateway: LocalGateway, settings: ClientSettings, models: Sequence[ListedModel], seconds: float
) -> Iterator[Check]:
    """Whether the gateway serves each model that the settings name: by its router, and by a test
    request if the backend does not list it."""
    settled = [*settings.any_of(*_NAMED), *filter(None, [settings.text("model")])]
    wanted = {_bare(item.value): item for item in reversed(settled)}
    ids = {name: item for name, item in wanted.items() if name.lower() not in _ALIASES}
    if _main(settings) is None:
        ids[_ITS_OWN] = Setting("nothing", _ITS_OWN, None)
    for model, setting in ids.items():
        problem = _not_served(gateway, model, models, min(seconds, _SECONDS))
        name = f"model {model}"
        if problem is None:
            yield Check(name, "passed", f"{_names(setting, model)}; the gateway serves it")
        else:
            fix = "set it to one that the gateway lists: " + _some(models)
            reason = f"{_names(setting, model)}: {problem}"
            yield Check(name, "failed", reason, setting.fix(fix))


def _names(setting: Setting, model: str) -> str:
    if setting.name == "nothing":
        return f"no setting names a model, so Claude Code requests its own, such as {model}"
    return f"{setting.place} names it"


def _not_served(
    gateway: LocalGateway, model: str, models: Sequence[ListedModel], seconds: float
) -> str | None:
    """Why a request for the model would fail; None if it would succeed."""
    if any(model in (item.id, item.id.removeprefix(_PREFIX)) for item in models):
        return None
    message = {"role": "user", "content": "Hello"}
    body = {"model": model, "max_tokens": 16, "messages": [message]}
    try:
        answer = gateway.ask("POST", "/v1/messages/explain", json.dumps(body).encode())
    except PlugwayError as error:
        return str(error)
    targets = as_list(as_object(as_object(answer).get("route")).get("targets"))
    known = {item.id.removeprefix(_PREFIX) for item in models}
    if not targets or str(targets[0]) in known:
        return None
    ask = partial(probe, gateway.url, gateway.token, model, tls=gateway.tls, seconds=seconds)
    (found,) = anyio.run(partial(ask, probes=("stream",)))
    if found.ok:
        return None
    return f"it goes to {targets[0]}, which is not listed; a test request: {found.reason}"


def available(settings: ClientSettings, models: Sequence[ListedModel]) -> Iterator[Check]:
    """Whether `availableModels` matches the gateway's list."""
    name = "available models"
    entries = settings.texts("availableModels")
    if not entries:
        return
    known = {item.id for item in models}
    stale = [e for e in entries if e.value.startswith(_PREFIX) and e.value not in known]
    hidden = known - {entry.value for entry in entries}
    fix = "run `plugway setup claude-code` again to write the current models"
    if stale:
        ids = ", ".join(entry.value for entry in stale[:5])
        reason = f"{stale[0].place} offers models that the gateway does not list: {ids}"
        yield Check(name, "warned", reason, stale[0].fix(fix))
    if hidden:
        ids = ", ".join(sorted(hidden)[:5])
        reason = f"{entries[0].place} hides {len(hidden)} listed models from `/model`: {ids}"
        yield Check(name, "warned", reason, entries[0].fix(fix))
    if not stale and not hidden:
        yield Check(name, "passed", f"{entries[0].place} matches the gateway's list")


def configured_window(
    gateway: LocalGateway, settings: ClientSettings, models: Sequence[ListedModel]
) -> Check:
    """Whether Claude Code assumes a larger window for its main model than it has."""
    name = "configured window"
    for variable in settings.any_of(_WINDOW, _COMPACT):
        if not variable.value.strip().isdecimal():
            reason = f"{variable.place} is not a valid number of tokens"
            return Check(name, "failed", reason, variable.fix("set it to a number, or remove it"))
    asked = _main(settings)
    model = next((m for m in models if asked in (m.id, m.id.removeprefix(_PREFIX))), None)
    if model is None or not model.window or _REAL.search(model.id) or scales_usage(gateway):
        return Check(name, "passed", "the configured window is not larger than the model's")
    configured = settings.variable(_WINDOW)
    size = int(configured.value) if configured else _ASSUMED
    if size <= model.window:
        return Check(name, "passed", f"Claude Code knows the window of {model.id}")
    what = f"{configured.place} sets" if configured else f"without {_WINDOW}, Claude Code assumes"
    more = f"{size:,} tokens{'' if configured else ' or more'}"
    reason = f"{what} {more}, and {model.id} has {model.window:,}: it compacts too late"
    fix = f"set {_WINDOW} to {model.window}, or run `plugway setup claude-code`"
    return Check(
        name,
        "failed" if configured else "warned",
        reason,
        configured.fix(fix) if configured else fix,
    )


def _main(settings: ClientSettings) -> str | None:
    """The id of the main model in the settings; None if the client chooses it."""
    chosen = settings.variable("ANTHROPIC_MODEL") or settings.text("model")
    name = _bare(chosen.value) if chosen else "default"
    if name.lower() not in _ALIASES:
        return name
    slots = _SLOTS if name.lower() in ("default", "best") else (name.upper(),)
    found = next(settings.any_of(*(f"ANTHROPIC_DEFAULT_{slot}_MODEL" for slot in slots)), None)
    return _bare(found.value) if found else None


def _bare(model: str) -> str:
    """The id without the suffix that requests a long window."""
    return model.strip().removesuffix("[1m]")


def _some(models: Sequence[ListedModel]) -> str:
    shown = ", ".join(model.id for model in models[:5])
    return f"{shown} and {len(models) - 5} more" if len(models) > 5 else shown
