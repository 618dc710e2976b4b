"""The plugin: registers the backend, and starts and stops its workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager

from plugway import Backend, Gateway, Plugin, hookimpl
from plugway_local_models import NoSuchModel
from plugway_mlx._backend import MlxBackend
from plugway_mlx._folder import glance
from plugway_mlx._installed import missing_engine
from plugway_mlx._names import find_model
from plugway_mlx._options import MlxOptions


class Mlx(Plugin[MlxOptions]):
    """Runs MLX models locally, each in a supervised process; nothing leaves the machine."""

    def __init__(self, options: MlxOptions, *, name: str = "") -> None:
        super().__init__(options, name=name)
        self.backend = MlxBackend(self.name, options)
        self._missing = False

    @hookimpl
    def register_backends(self) -> Sequence[Backend]:
        """One backend."""
        return [self.backend]

    def check(self, zones: Mapping[str, str]) -> Sequence[tuple[tuple[str | int, ...], str]]:
        """Warn about a missing engine, and a missing or unusable model. It is not an error, because
        both may be installed while the gateway runs."""
        for problem in self._problems():
            self._missing = True
            self.log.warning("%s", problem)
        return ()

    def _problems(self) -> list[str]:
        problems = [missing_engine()]
        try:
            model = find_model(self.options.model)
        except NoSuchModel as error:
            problems.append(str(error))
        else:
            wrong = glance(model.path)
            problems.append(f"the model cannot be used: {wrong}" if wrong else "")
        return [problem for problem in problems if problem]

    @hookimpl
    def lifespan(self, gateway: Gateway | None = None) -> AbstractAsyncContextManager[object]:
        """Loads the model in the background; stops all workers at the end. Without a gateway, as in
        a benchmark, there is no `plugway models`."""
        return self.backend.loader.running(
            gateway,
            self.log,
            preload=self.options.preload and not self._missing,
            idle_unload_seconds=self.options.idle_unload_seconds,
        )
