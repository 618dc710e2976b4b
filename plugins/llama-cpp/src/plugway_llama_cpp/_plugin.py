"""The plugin: registers the backend, and starts and stops its workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager

from plugway import Backend, Gateway, Plugin, hookimpl
from plugway_llama_cpp._backend import LlamaCppBackend
from plugway_llama_cpp._files import glance
from plugway_llama_cpp._folder import find_model
from plugway_llama_cpp._options import LlamaCppOptions
from plugway_local_models import NoSuchModel


class LlamaCpp(Plugin[LlamaCppOptions]):
    """Runs GGUF models locally, each in a supervised process; nothing leaves the machine."""

    def __init__(self, options: LlamaCppOptions, *, name: str = "") -> None:
        super().__init__(options, name=name)
        self.backend = LlamaCppBackend(self.name, options)
        self._missing = False

    @hookimpl
    def register_backends(self) -> Sequence[Backend]:
        """One backend."""
        return [self.backend]

    def check(self, zones: Mapping[str, str]) -> Sequence[tuple[tuple[str | int, ...], str]]:
        """Warn about a missing or invalid model file. It is not an error, because the file may be
        downloaded while the gateway runs."""
        try:
            model = find_model(self.options.model)
        except NoSuchModel as error:
            self._missing = True
            self.log.warning("%s", error)
        else:
            if wrong := glance(model.path):
                self._missing = True
                self.log.warning("the model cannot be used: %s", wrong)
        return ()

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
