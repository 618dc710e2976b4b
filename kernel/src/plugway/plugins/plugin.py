"""What a plugin is: a class with typed options whose methods implement hooks.

Finding, importing and ordering plugins belongs to the loader.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar, get_args, get_origin

from plugway.types.options import NoOptions, Options

OptionsT = TypeVar("OptionsT", bound=Options)

Flaw = tuple[tuple[str | int, ...], str]
"""A mistake in options: the keys that lead to it, such as `("models", "*", 0)`, and the reason."""


class Plugin(Generic[OptionsT]):
    """Base class of every plugin: `class Echo(Plugin[EchoOptions])`.

    One instance is made per entry of the config's `plugins` list. Methods marked with `@hookimpl`
    and named after a hook of `docs/hooks.md` are called by the kernel.
    """

    outside: ClassVar[tuple[str, ...]] = ()
    """Plugins that must be listed after (inside of) this one where both are listed."""
    requires: ClassVar[tuple[str, ...]] = ()
    """Plugins that must be listed too."""
    seals_replies: ClassVar[bool] = False
    """What it says about a reply is final and a matter of safety. It must be listed before every
    plugin that changes replies (`transform_response`, `transform_stream`), so that it sees what the
    client will get, and an exchange ends if one of these hooks of its fails, instead of going on
    without it."""

    def __init__(self, options: OptionsT, *, name: str = "") -> None:
        self.options = options
        self.name = name or type(self).__name__.lower()
        """Name of this instance: what routes, logs and errors call it."""
        self.log = logging.getLogger(f"plugway.{self.name}")

    @classmethod
    def options_type(cls) -> type[Options]:
        """The options class named in the type argument; `NoOptions` where there is none."""
        for klass in cls.__mro__:
            for base in getattr(klass, "__orig_bases__", ()):
                origin = get_origin(base)
                if isinstance(origin, type) and issubclass(origin, Plugin):
                    argument: Any = get_args(base)[0]
                    if isinstance(argument, type) and issubclass(argument, Options):
                        return argument
        return NoOptions

    def check(self, zones: Mapping[str, str]) -> Sequence[Flaw]:
        """What is wrong with the options, now that all backends are known.

        Called once at load, after `register_backends` of all plugins; `zones` are the zones of the
        backends by name. Each flaw is a place below `options` and the reason, and becomes one line
        of the report that refuses the configuration. Override it where options name backends.

        What is only odd, and harms nothing, is logged as a warning: `plugway check` tells it too.
        """
        return ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"
