"""Hook implementations, registered and ordered by pluggy, and validated at load.

`plugins/hooks` calls them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final

import pluggy

from plugway.config.document import did_you_mean
from plugway.plugins.hookspecs import PROJECT, REPLY_HOOKS, HookInfo, Hookspecs, hook_infos
from plugway.plugins.plugin import Plugin
from plugway.types.errors import PluginError

STRIKES: Final = 3
"""Failures after which an implementation that fails open is no longer called."""


@dataclass(slots=True)
class Impl:
    """One implementation of a hook, ready to be called."""

    plugin: Plugin[Any]
    hook: str
    info: HookInfo
    call: Callable[..., Any]
    """Takes all arguments in the order of the hook; the result may be awaitable."""
    is_async: bool
    failures: int = 0
    quarantined: bool = False
    """Disabled after too many failures."""

    def failed(self) -> None:
        """Count a failure."""
        self.failures += 1
        self.quarantined = self.info.fails == "open" and self.failures >= STRIKES


class _Manager(pluggy.PluginManager):
    """Examines only what a class marks; pluggy examines all attributes, which takes far longer."""

    def parse_hookimpl_opts(self, plugin: object, name: str) -> pluggy.HookimplOpts | None:
        """The options of the implementation with that name, or `None`."""
        marked = hasattr(getattr(type(plugin), name, None), f"{PROJECT}_impl")
        return super().parse_hookimpl_opts(plugin, name) if marked else None


def registered(plugins: Sequence[Plugin[Any]]) -> dict[str, list[Impl]]:
    """The implementations of every hook, in the order in which they are called.

    Raises `PluginError` if a plugin does not match the specification of a hook.
    """
    manager = _Manager(PROJECT)
    manager.add_hookspecs(Hookspecs)
    for plugin in reversed(plugins):  # pluggy calls the last one registered first
        _check_markers(plugin)
        try:
            manager.register(plugin, name=plugin.name)
        except (pluggy.PluginValidationError, ValueError) as error:
            raise PluginError(plugin.name, str(error)) from error
    return {n: _implementations(manager, n, info) for n, info in hook_infos().items()}


def _implementations(manager: pluggy.PluginManager, hook: str, info: HookInfo) -> list[Impl]:
    caller: Any = getattr(manager.hook, hook)
    parameters = _parameters(hook)
    spec_is_async = inspect.iscoroutinefunction(getattr(Hookspecs, hook))
    sealed = replace(info, fails="closed") if hook in REPLY_HOOKS else info
    impls: list[Impl] = []
    for found in reversed(caller.get_hookimpls()):
        is_async = inspect.iscoroutinefunction(found.function)
        if is_async and not spec_is_async:
            reason = f"hook `{hook}` must be a plain `def`, not `async def`"
            raise PluginError(found.plugin.name, reason)
        order = tuple(parameters.index(name) for name in found.argnames)
        named = [(n, parameters.index(n)) for n in found.kwargnames if n in parameters]
        takes_all = order == tuple(range(len(parameters)))
        call = found.function if takes_all else _with_some(found.function, order, named)
        rules = sealed if found.plugin.seals_replies else info
        impls.append(Impl(found.plugin, hook, rules, call, is_async))
    return impls if info.inward else impls[::-1]


@cache
def _parameters(hook: str) -> tuple[str, ...]:
    return tuple(inspect.signature(getattr(Hookspecs, hook)).parameters)[1:]


def _with_some(
    function: Callable[..., Any], order: Sequence[int], named: Sequence[tuple[str, int]]
) -> Callable[..., Any]:
    """`function` called with the hook arguments at these positions, with defaults by name."""
    return lambda *args: function(*[args[i] for i in order], **{n: args[i] for n, i in named})


def _check_markers(plugin: Plugin[Any]) -> None:
    for name, member in inspect.getmembers(type(plugin), callable):
        options = getattr(member, f"{PROJECT}_impl", None)
        if options is None:
            if name not in hook_infos():
                continue
            raise PluginError(plugin.name, f"`{name}` is named after a hook: add `@hookimpl`")
        if (hook := options.get("specname") or name) not in hook_infos():
            hint = did_you_mean(hook, [*hook_infos()]) or f"the hooks are {', '.join(hook_infos())}"
            raise PluginError(plugin.name, f"unknown hook `{hook}`: {hint}")
        if options.get("wrapper") or options.get("hookwrapper"):
            reason = f"hook `{name}` is a wrapper; use `around_attempt` or `transform_stream`"
            raise PluginError(plugin.name, reason)
        known = _parameters(hook)
        for key, found in [*inspect.signature(member).parameters.items()][1:]:
            if found.kind is found.KEYWORD_ONLY:
                raise PluginError(plugin.name, f"hook `{name}` has keyword-only parameters")
            if key not in known and found.default is found.empty:
                hint = did_you_mean(key, known) or f"it has {', '.join(known) or 'none'}"
                raise PluginError(plugin.name, f"hook `{name}` has no parameter `{key}`: {hint}")
