"""The plugin: one of Apple's models as a backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext

from plugway import Backend, Plugin, hookimpl
from plugway_apple_intelligence import _sdk
from plugway_apple_intelligence._backend import InProcess
from plugway_apple_intelligence._options import AppleIntelligenceOptions
from plugway_apple_intelligence._server import AppleServer


class AppleIntelligence(Plugin[AppleIntelligenceOptions]):
    """Registers one of Apple's own models as a backend, for titles and small chats."""

    def __init__(self, options: AppleIntelligenceOptions, *, name: str = "") -> None:
        super().__init__(options, name=name)
        in_process = options.run == "in-process"
        self.backend: InProcess | AppleServer = (
            InProcess(self.name, options) if in_process else AppleServer(self.name, options)
        )

    def check(self, zones: Mapping[str, str]) -> Sequence[tuple[tuple[str | int, ...], str]]:
        """Report a machine that cannot run the model in process; warn about a server that cannot
        be on this machine."""
        if isinstance(self.backend, InProcess):
            problem = _sdk.problem_here()
            return [(("run",), problem)] if problem else ()
        name, _ = _sdk.system()
        if name != "macOS" and self.backend.upstream.loopback:
            self.log.warning(
                "`%s` runs on a Mac, and this machine runs %s: set `base_url` to the address of a "
                "Mac, unless a tunnel leads to one",
                self.options.run,
                name,
            )
        return ()

    @hookimpl
    def register_backends(self) -> list[Backend]:
        """The backend under the name of this instance."""
        return [self.backend]

    @hookimpl
    def lifespan(self) -> AbstractAsyncContextManager[object]:
        """Keep the server's connections open from start to end."""
        return nullcontext() if isinstance(self.backend, InProcess) else self.backend
