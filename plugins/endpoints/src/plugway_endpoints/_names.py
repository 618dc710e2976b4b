"""Find endpoints by the names that people use: an id, an instance, an alias, a few words.

Pure functions over a list of models as clients see it. The plugin `recommend` decides which
endpoint suits a conversation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from plugway import ModelInfo

DEFAULT_WORDS: Final = frozenset({"default", "usual", "usual one", "default one", "original"})
"""Names of the model that the configuration chooses."""
_LOCAL_WORDS: Final = frozenset({"local", "on-device", "on device", "offline"})
_CLOUD_WORDS: Final = frozenset({"cloud", "remote", "online"})
_WORD: Final = re.compile(r"\d+(?:\.\d+)*|[^\W\d_]+")
_MAX_SHOWN: Final = 8
MAX_ID: Final = 300


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A model of a backend, or an alias of the router."""

    id: str
    """`instance/model`, or `router/alias`: the id that clients see without `anthropic/`."""
    instance: str
    model: str
    zone: str
    """The backend's zone; empty for an alias, whose targets the router knows."""
    info: ModelInfo

    @property
    def alias(self) -> bool:
        """Whether it is an alias of the router."""
        return not self.zone

    def described(self) -> str:
        """Name, zone and window, for a sentence."""
        facts = [self.zone or "alias"]
        if self.info.context_tokens:
            facts.append(f"window {self.info.context_tokens:,} tokens")
        return f"`{self.id}` ({', '.join(facts)})"


@dataclass(frozen=True, slots=True)
class Match:
    """The endpoints that match a name."""

    found: tuple[Endpoint, ...] = ()
    """One: the name is unambiguous. Several: it matches all of them. None: it is unknown."""
    default: bool = False
    """The name means the model that the configuration chooses."""

    @property
    def only(self) -> Endpoint | None:
        """The endpoint, if the name is unambiguous."""
        return self.found[0] if len(self.found) == 1 else None


def endpoints_of(models: Iterable[ModelInfo], zones: Mapping[str, str]) -> tuple[Endpoint, ...]:
    """Endpoints of the models that clients see; `zones` are the zones of the backends by name.

    Ids with control or hidden characters are left out: a user cannot type them, and it is not
    safe to quote them.
    """
    found: list[Endpoint] = []
    for info in models:
        id_ = info.id.removeprefix("anthropic/")
        instance, _, model = id_.partition("/")
        if model and id_.isprintable() and len(id_) <= MAX_ID:
            found.append(Endpoint(id_, instance, model, zones.get(instance, ""), info))
    return tuple(found)


def match(name: str, endpoints: Sequence[Endpoint]) -> Match:
    """The endpoints that match `name`.

    The first rule with a match wins: an id, a model's name or an alias; the name of an instance;
    `local` or `cloud`; words that all occur in an endpoint's id or title. If several models of an
    instance match, the loaded one is chosen, or the one that the router names.
    """
    wanted = " ".join(name.strip(" \t`'\"").casefold().split())
    if not wanted:
        return Match()
    exact = [e for e in endpoints if wanted in _exact_names(e)]
    if exact:
        return Match(_narrowed(exact))
    of_instance = [e for e in endpoints if e.instance.casefold() == wanted]
    if of_instance:
        return Match(_narrowed(of_instance))
    if wanted in DEFAULT_WORDS:
        return Match(default=True)
    if wanted in _LOCAL_WORDS:
        return Match(_narrowed([e for e in endpoints if e.zone == "local"]))
    if wanted in _CLOUD_WORDS:
        return Match(_narrowed([e for e in endpoints if e.zone not in ("", "local")]))
    return Match(_narrowed(_by_words(wanted, endpoints)))


def choices_text(endpoints: Sequence[Endpoint]) -> str:
    """Endpoints as a list for a sentence."""
    shown = ", ".join(f"`{e.id}`" for e in endpoints[:_MAX_SHOWN])
    more = len(endpoints) - _MAX_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def close_to(name: str, endpoints: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
    """Endpoints whose names resemble `name`, the closest first."""
    words = {word: e for e in reversed(endpoints) for word in (e.instance, e.model, e.id)}
    lower = {word.casefold(): e for word, e in words.items()}
    near = get_close_matches(name.casefold(), lower, n=3)
    return tuple({lower[word].id: lower[word] for word in near}.values())


def _exact_names(endpoint: Endpoint) -> tuple[str, ...]:
    return (
        endpoint.id.casefold(),
        f"anthropic/{endpoint.id}".casefold(),
        endpoint.model.casefold(),
        endpoint.info.display_name.casefold(),
    )


def _narrowed(found: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
    """If several models of one instance match: the loaded one, else the one that the router
    names, else all."""
    if len({e.instance for e in found}) == 1:
        loaded = [e for e in found if e.info.state == "loaded"]
        routed = [e for e in found if e.info.extra.get("routed")]
        for preferred in (loaded, routed):
            if len(preferred) == 1:
                return tuple(preferred)
    return tuple(found)


def _by_words(wanted: str, endpoints: Sequence[Endpoint]) -> list[Endpoint]:
    words = set(_WORD.findall(wanted))
    if not words:
        return []
    fitting = [e for e in endpoints if words <= set(_WORD.findall(_described(e)))]
    # `gemini flash` means `gemini-flash` before `gemini-flash-lite`: no word is left over.
    return [e for e in fitting if words >= _model_words(e)] or fitting


def _described(endpoint: Endpoint) -> str:
    return f"{endpoint.id} {endpoint.info.display_name}".casefold()


def _model_words(endpoint: Endpoint) -> set[str]:
    words = _WORD.findall(endpoint.model.casefold().rpartition("/")[2])
    return {word for word in words if not word[0].isdigit()}
