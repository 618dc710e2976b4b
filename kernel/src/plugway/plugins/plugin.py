"""The base class of plugins: a class with typed options whose methods implement hooks.

`plugins/loader` finds, imports and orders plugins.
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
    """Base class of all plugins: `class Echo(Plugin[EchoOptions])`.

    One instance is created per entry of the config's `plugins` list. The kernel calls methods that
    are marked with `@hookimpl` and named after a hook in `docs/hooks.md`.
    """

    outside: ClassVar[tuple[str, ...]] = ()
    """Plugins that must be listed after (inside) this one, if they are listed."""
    requires: ClassVar[tuple[str, ...]] = ()
    """Plugins that must be listed too."""
    seals_replies: ClassVar[bool] = False
    """Set this if safety depends on the plugin's changes to replies. It must then be listed before
    every other plugin that changes replies (`transform_response`, `transform_stream`), so that it
    sees what the client will get, and the exchange ends if one of these hooks fails in it."""

    def __init__(self, options: OptionsT, *, name: str = "") -> None:
        self.options = options
        self.name = name or type(self).__name__.lower()
        """Name of this instance in routes, logs and errors."""
        self.log = logging.getLogger(f"plugway.{self.name}")

    @classmethod
    def options_type(cls) -> type[Options]:
        """The options class given as type argument, or `NoOptions`."""
        for klass in cls.__mro__:
            for base in getattr(klass, "__orig_bases__", ()):
                origin = get_origin(base)
                if isinstance(origin, type) and issubclass(origin, Plugin):
                    argument: Any = get_args(base)[0]
                    if isinstance(argument, type) and issubclass(argument, Options):
                        return argument
        return NoOptions

    def check(self, zones: Mapping[str, str]) -> Sequence[Flaw]:
        """Check options that name backends; override it to return mistakes in them.

        Called once at load, after `register_backends` of all plugins. `zones` are the zones of the
        backends by name. A mistake is a place below `options` and a reason; with any, the
        configuration is rejected and each is one line of the error message.

        Log a warning for what is unusual but harmless; `plugway check` shows warnings too.
        """
        return ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"
