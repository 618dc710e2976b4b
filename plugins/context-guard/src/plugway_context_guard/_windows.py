"""The real window of a model: configured, learned from a rejection, or listed by its backend.

See `_meter` for how much of it a prompt takes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final

import anyio
import anyio.abc

from plugway import Attempt, Backend, BackendError, Bounded, ModelInfo
from plugway_context_guard._features import Sees
from plugway_upstream_errors import Learned

FIRST_SECONDS: Final = 1.0
"""Time limit for a backend's list of models while a request waits."""
FRESH_SECONDS: Final = 60.0
UNKNOWN_SECONDS: Final = 10.0
"""The same for a backend that did not state the model's window, or did not answer."""

ASK_AGAIN_SECONDS: Final = 60.0
"""A window that only a rejection states is relied on for so long: a larger one may be loaded."""
_MAX_TARGETS: Final = 1000

_log = logging.getLogger("plugway.context-guard")


@dataclass(frozen=True, slots=True)
class Window:
    """Limits of a model in tokens; 0 if unknown."""

    context: int = 0
    output: int = 0
    source: str = "unknown"
    cuts: bool = False
    """Whether its server silently truncates a prompt that is too long."""
    stale: bool = False
    """Whether only a rejection states it, and one from so long ago that the server decides about
    the next prompt that is too long for it."""
    sees: Sees = field(default_factory=Sees)
    """Which media its model is sent."""


@dataclass(slots=True)
class _Asked:
    """A backend's list of its models."""

    when: float = 0.0
    models: Mapping[str, ModelInfo] = field(default_factory=dict[str, ModelInfo])
    asking: bool = False
    answered: anyio.Event = field(default_factory=anyio.Event)
    """Set after the first query of the backend, successful or not."""

    def find(self, model: str) -> ModelInfo | None:
        """The model, also without its tag, or if it is the only one."""
        found = self.models.get(model) or self.models.get(f"{model}:latest")
        if found is None and len(self.models) == 1:
            (found,) = self.models.values()
        return found


class Windows:
    """The windows of all targets."""

    def __init__(
        self,
        configured: Mapping[str, int],
        warn_below: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._configured = configured
        self._warn_below = warn_below
        self._clock = clock
        self._asked: dict[str, _Asked] = {}
        self._group: anyio.abc.TaskGroup | None = None
        self._warned: set[str] = set()
        self.contexts = Learned(clock)
        self._stated: Bounded[str, int] = Bounded(_MAX_TARGETS)
        """What a backend stated when a rejection taught another window."""
        self.outputs = Learned(clock)
        self._cutting = Learned(clock)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Lists of models are refreshed in the background while this is open."""
        for pattern, tokens in self._configured.items():
            self.warn(pattern, tokens, "set in `windows`")
        async with anyio.create_task_group() as group:
            self._group = group
            try:
                yield
            finally:
                self._group = None
                group.cancel_scope.cancel()

    async def of(self, attempt: Attempt) -> Window:
        """The window of the attempt's model."""
        target = attempt.target
        info = await self._info(attempt)
        context, source = self.known(target, info.context_tokens if info else 0)
        output = self.outputs.get(target) or (info.max_output_tokens if info else 0)
        self.warn(target, context, source)
        said = info is not None and info.extra.get("cuts_prompts") is True
        learned = self.contexts.get(target)
        stale = bool(learned) and self.contexts.age(target) > ASK_AGAIN_SECONDS
        sees = Sees.listed(info.capabilities if info else frozenset())
        cuts = said or self._cutting.get(target) > 0
        return Window(context, output, source, cuts, stale and context == learned, sees)

    def learn_context(self, target: str, tokens: int, stated: int) -> None:
        """Learn the window that a rejection stated, at a time when its backend stated `stated`."""
        self._stated[target] = stated
        self.contexts.learn(target, tokens)

    def stated(self, attempt: Attempt) -> int:
        """The window that the backend states for the attempt's model; 0 if it does not."""
        asked = self._asked.get(attempt.backend.name)
        info = asked.find(attempt.model) if asked else None
        return info.context_tokens if info else 0

    def served(self, target: str, tokens: int) -> None:
        """Forget a window that a rejection stated if a longer prompt was served."""
        if 0 < self.contexts.get(target) < tokens:
            self.contexts.forget(target)

    def learn_cut(self, target: str, prompt: int, counted: int) -> None:
        """Learn that a prompt of an estimated `prompt` tokens was served as if it had `counted`."""
        if not self._cutting.get(target):
            _log.warning(
                "`%s` replied to a prompt of about %d tokens but counted %d: it seems to truncate "
                "prompts that are too long. Such prompts are rejected here for an hour; load the "
                "model with a larger window",
                target,
                prompt,
                counted,
            )
        self._cutting.learn(target, prompt)

    def known(self, target: str, stated: int) -> tuple[int, str]:
        """The context of `instance/model` whose backend states `stated` tokens, and its source."""
        context, source = self._as_configured(target), "set in `windows`"
        if not context:
            context, source = stated, f"listed by `{target.partition('/')[0]}`"
        learned = self.contexts.get(target)
        if learned and stated and stated != self._stated.get(target):
            self.contexts.forget(target)  # its model was loaded anew since
            learned = 0
        if learned and (not context or learned < context):
            minutes = self.contexts.age(target) / 60
            ago = f"{minutes:.0f} min ago" if minutes >= 1 else "just now"
            return (
                learned,
                f"stated by its server {ago} when it rejected a prompt; kept for an hour",
            )
        return context, source

    def warn(self, target: str, tokens: int, source: str) -> None:
        """Warn once about a small window."""
        if 0 < tokens < self._warn_below and target not in self._warned:
            self._warned.add(target)
            _log.warning(
                "`%s` has a window of %d tokens (%s), less than the %d tokens that an agent needs: "
                "load it with a larger window, or use it for small jobs only",
                target,
                tokens,
                source,
                self._warn_below,
            )

    def _as_configured(self, target: str) -> int:
        for pattern, tokens in self._configured.items():
            if fnmatchcase(target, pattern):
                return tokens
        return 0

    async def _info(self, attempt: Attempt) -> ModelInfo | None:
        backend = attempt.backend
        asked = self._asked.get(backend.name)
        if asked is None:
            asked = self._asked[backend.name] = _Asked()
            with anyio.move_on_after(FIRST_SECONDS):
                await self._ask(backend, asked)
        elif not asked.answered.is_set():  # the first of several requests asks for all of them
            with anyio.move_on_after(FIRST_SECONDS):
                await asked.answered.wait()
        info = asked.find(attempt.model)
        age = self._clock() - asked.when
        known = info is not None and info.context_tokens
        stale = age > (FRESH_SECONDS if known else UNKNOWN_SECONDS)
        if stale and not asked.asking and self._group is not None:
            self._group.start_soon(self._ask, backend, asked)
        return info

    async def _ask(self, backend: Backend, asked: _Asked) -> None:
        asked.asking = True
        try:
            found = await backend.models()
            asked.models = {info.id: info for info in found}
        except BackendError as error:
            _log.info("could not list the models of `%s`: %s", backend.name, error.record)
        except Exception:  # a bug in one backend must not stop the background task for all
            _log.exception("listing the models of `%s` failed", backend.name)
        finally:
            asked.asking = False
            asked.answered.set()
            asked.when = self._clock()
