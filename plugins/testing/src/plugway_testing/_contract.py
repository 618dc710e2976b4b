"""Contract tests for all plugins, to be subclassed by plugin authors.

    class TestContract(BackendContract):
        plugin = MyBackend
        options = {"base_url": "http://127.0.0.1:1/"}

Switch off a contract test only with `pytest.mark.xfail(reason=...)`.
"""

from __future__ import annotations

import inspect
import logging
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from copy import deepcopy
from typing import Any, ClassVar

import anyio
import pytest
from blockbuster import blockbuster_ctx
from pydantic import ValidationError

from plugway.config.config import parse_config
from plugway.http.snapshot import Snapshot
from plugway.plugins.hooks import Hooks
from plugway.plugins.hookspecs import hook_infos, hookimpl
from plugway.plugins.plugin import Plugin
from plugway.types.backend import Backend
from plugway.types.exchange import Attempt
from plugway.types.options import NoOptions, Options
from plugway.types.request import MessagesRequest
from plugway.types.response import Reply
from plugway_testing._gateway import build_plugin, gateway, request_body
from plugway_wire.emitter import Order
from plugway_wire.errors import BackendError


class PluginContract:
    """Tests for every plugin."""

    pytestmark = pytest.mark.anyio

    plugin: ClassVar[type[Plugin[Any]]]
    """The plugin class under test."""
    options: ClassVar[Mapping[str, Any]] = {}
    """Options of a valid instance."""
    beside: ClassVar[tuple[tuple[type[Plugin[Any]], Mapping[str, Any]], ...]] = ()
    """Other plugins, with options, that a request needs to be answered."""

    @pytest.fixture
    def anyio_backend(self) -> str:
        """The event loop of the gateway."""
        return "asyncio"

    def make(self) -> Plugin[Any]:
        """Create an instance."""
        return build_plugin(self.plugin, "under-test", **self.options)

    def stack(self) -> list[Plugin[Any]]:
        """The plugin and the plugins it needs."""
        others = [build_plugin(p, f"beside-{i}", **o) for i, (p, o) in enumerate(self.beside)]
        return [self.make(), *others]

    def test_it_loads_with_valid_options(self) -> None:
        assert Hooks([self.make()]).all(), "the plugin implements no hook"

    def test_an_unknown_option_is_refused(self) -> None:
        with pytest.raises(ValidationError, match="no_such_option"):
            build_plugin(self.plugin, "x", **{**self.options, "no_such_option": 1})

    def test_every_option_is_described(self) -> None:
        fields = self.plugin.options_type().model_fields
        bare = [name for name, field in fields.items() if not field.description]
        assert not bare, f"options without a docstring: {bare}"

    def test_options_are_frozen_and_named(self) -> None:
        kind: type[Options] = self.plugin.options_type()
        assert kind.model_config.get("frozen")
        assert kind.model_config.get("extra") == "forbid"

    def test_the_class_is_documented(self) -> None:
        assert inspect.getdoc(self.plugin)
        assert self.plugin.__doc__ != Plugin.__doc__, "the class has no own docstring"

    def test_secrets_do_not_show(self, caplog: pytest.LogCaptureFixture) -> None:
        canary = "canary-1f2e3d4c"
        secrets = _secret_fields(self.plugin.options_type())
        with caplog.at_level(logging.DEBUG):
            options = {**self.options, **dict.fromkeys(secrets, canary)}
            made = build_plugin(self.plugin, "x", **options)
            shown = f"{made!r} {made.options!r} {vars(made)!r} {caplog.text}"
        assert canary not in shown

    def test_only_known_hooks_are_implemented(self) -> None:
        marked = {n for n, m in inspect.getmembers(self.plugin) if hasattr(m, "plugway_impl")}
        assert marked <= set(hook_infos())

    def test_importing_it_opens_nothing(self) -> None:
        code = (
            "import socket, sys\n"
            "def refuse(*a, **k): raise SystemExit('a socket was opened on import')\n"
            "socket.socket.connect = refuse; socket.socket.bind = refuse\n"
            f"import {self.plugin.__module__}\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    async def test_its_lifespan_can_be_entered_twice_in_sequence(self) -> None:
        stack = self.stack()
        for _ in range(2):
            async with _entered(_snapshot(stack)):
                await anyio.lowlevel.checkpoint()


class FeatureContract(PluginContract):
    """Tests for a plugin that changes other plugins' requests or replies.

    It runs in front of a backend that needs no model.
    """

    harmless: ClassVar[Mapping[str, Any]] = {}
    """Request fields that the plugin does not act on."""

    def stack(self) -> list[Plugin[Any]]:
        """The plugin in front of a plain backend."""
        return [*super().stack(), _plain_backend()]

    async def test_doing_nothing_leaves_the_request_as_it_is(self) -> None:
        stack = self.stack()
        async with gateway(stack) as running:
            await running.ask("hello", **self.harmless)
        backend: Any = stack[-1]
        assert backend.seen[-1].raw == backend.expected(self.harmless)

    async def test_it_edits_no_request_in_place(self) -> None:
        """A change without `request.replace` is not on the receipt, and other plugins share it."""
        watch = _Watch(NoOptions(), name="watch")
        async with gateway([watch, *self.stack()]) as running:
            await running.post(request_body("hello"))
            await running.post(request_body("hello", stream=True, **self.harmless))
        for request, before in watch.found:
            assert request.body == before, "`request.body` was edited; use `request.replace`"

    async def test_it_works_with_and_without_streaming(self) -> None:
        async with gateway(self.stack()) as running:
            message = await running.ask("hello", **self.harmless)
            events = await running.stream("hello", **self.harmless)
        assert message["content"] == [{"type": "text", "text": "plain answer"}]
        assert events[-1][0] == "message_stop"

    async def test_it_does_not_block_the_loop(self) -> None:
        async with gateway(self.stack()) as running:
            with blockbuster_ctx("plugway"):
                await running.ask("hello", **self.harmless)

    async def test_two_exchanges_at_once_share_nothing(self) -> None:
        async with gateway(self.stack()) as running:
            found: list[Any] = []

            async def one() -> None:
                found.append(await running.ask("hello", **self.harmless))

            async with anyio.create_task_group() as group:
                for _ in range(10):
                    group.start_soon(one)
        assert len({message["id"] for message in found}) == 10


class BackendContract(PluginContract):
    """Tests for a plugin that registers a backend.

    Override `upstream` to serve what the backend connects to; by default there is no upstream.
    """

    model: ClassVar[str] = "test-model"
    """A model that the backend serves."""

    @asynccontextmanager
    async def upstream(self) -> AsyncGenerator[Mapping[str, Any]]:
        """Run the upstream; yield options that point the plugin to it."""
        yield {}

    @asynccontextmanager
    async def backend(self) -> AsyncGenerator[Backend]:
        """The opened backend."""
        async with self.upstream() as found:
            made = build_plugin(self.plugin, "under-test", **{**self.options, **found})
            snapshot = _snapshot([made])
            (backend,) = snapshot.backends.values()
            async with _entered(snapshot):
                yield backend

    async def test_it_answers_a_stream_that_is_legal(self) -> None:
        async with self.backend() as backend:
            reply = await self.send(backend, stream=True)
            order = Order()
            try:
                async for item in reply.decoded():
                    order.check(item)
            finally:
                await reply.close()
        assert order.ended

    async def test_it_names_a_zone_and_itself(self) -> None:
        async with self.backend() as backend:
            assert backend.name == "under-test"
            assert backend.zone

    async def test_closing_early_and_twice_is_fine(self) -> None:
        async with self.backend() as backend:
            reply = await self.send(backend, stream=True)
            await reply.close()
            await reply.close()

    async def test_the_gateway_serves_it_both_ways(self) -> None:
        async with self.upstream() as found:
            made = build_plugin(self.plugin, "under-test", **{**self.options, **found})
            async with gateway([made]) as running:
                message = await running.ask("hello", model=self.model)
                events = await running.stream("hello", model=self.model)
        assert message["type"] == "message"
        assert message["content"]
        assert [name for name, _ in events][-2:] == ["message_delta", "message_stop"]

    async def test_an_upstream_that_is_not_there_is_a_backend_error(self) -> None:
        if "base_url" not in self.plugin.options_type().model_fields:
            pytest.skip("the backend has no upstream")
        options = {**self.options, "base_url": f"http://127.0.0.1:{_closed_port()}"}
        made = build_plugin(self.plugin, "under-test", **options)
        snapshot = _snapshot([made])
        (backend,) = snapshot.backends.values()
        async with _entered(snapshot):
            with pytest.raises(BackendError):
                await self.send(backend, stream=True)

    async def send(self, backend: Backend, **fields: Any) -> Reply:
        """Send one small request."""
        import orjson

        raw = orjson.dumps({**request_body("hello"), "model": self.model, **fields})
        headers = (("content-type", "application/json"),)
        return await backend.send(MessagesRequest(raw, headers), Attempt(backend, self.model))


class _Watch(Plugin[NoOptions]):
    """Keeps requests as they came, each with a copy of its body."""

    def __init__(self, options: NoOptions, *, name: str) -> None:
        super().__init__(options, name=name)
        self.found: list[tuple[MessagesRequest, Any]] = []

    @hookimpl
    def transform_request(self, request: MessagesRequest) -> None:
        """Copy the body."""
        self.found.append((request, deepcopy(dict(request.body))))


def _snapshot(plugins: Sequence[Plugin[Any]]) -> Snapshot:
    return Snapshot(parse_config("plugins: []", "test"), plugins)


@asynccontextmanager
async def _entered(snapshot: Snapshot) -> AsyncGenerator[None]:
    async with AsyncExitStack() as stack:
        for _plugin, context in snapshot.hooks.lifespan(snapshot.gateway):
            await stack.enter_async_context(context)
        yield


def _secret_fields(options: type[Options]) -> list[str]:
    return [n for n, f in options.model_fields.items() if "SecretStr" in str(f.annotation)]


def _closed_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def _plain_backend() -> Plugin[Any]:
    from plugway_testing._plain import PlainBackend, PlainOptions

    return PlainBackend(PlainOptions(), name="plain")
