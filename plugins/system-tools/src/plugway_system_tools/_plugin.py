"""The plugin: which tools are on, and running a call within its time."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from pydantic import ValidationError

from plugway import Gateway, Plugin, StateKey, hookimpl
from plugway_system_tools import _desktop, _machine, _processes
from plugway_system_tools._catalogue import TOOLS, Tool
from plugway_system_tools._commands import CommandFailed
from plugway_system_tools._options import (
    NoticeArguments,
    PortArguments,
    ProcessArguments,
    SystemToolsOptions,
    TextArguments,
)
from plugway_tools import (
    ToolCall,
    ToolResult,
    ToolSpec,
    failed,
    harmless,
    invalid_arguments,
    schema_of,
    unknown_tool,
)

Flaw = tuple[tuple[str | int, ...], str]
_RUN: StateKey[frozenset[str]] = StateKey("system-tools.run")
"""Ids of the calls of this exchange that were run."""
MOST_THREADS = 4
MOST_HANGING = 8
"""Threads that calls may leave behind when their time is over, such as for a broken disk."""
_T = TypeVar("_T")


class SystemTools(Plugin[SystemToolsOptions]):
    """Gives models tools about this machine: processes, memory, disks, ports, and the desktop."""

    def __init__(self, options: SystemToolsOptions, *, name: str = "") -> None:
        super().__init__(options, name=name)
        self._tools = {tool.name: tool for tool in TOOLS if self._is_on(tool)}
        self._threads = anyio.CapacityLimiter(MOST_THREADS)
        self._hanging = threading.BoundedSemaphore(MOST_HANGING)

    def _is_on(self, tool: Tool) -> bool:
        allowed = tool.effect in self.options.allow and not tool.private
        return self.options.tools.get(tool.name, allowed)

    def check(self, zones: Mapping[str, str]) -> Sequence[Flaw]:
        """Warn of programs that are missing for tools that are on."""
        for name, reason in self.missing().items():
            self.log.warning("`%s` will fail: %s", name, reason)
        return ()

    @hookimpl
    @asynccontextmanager
    async def lifespan(self, gateway: Gateway) -> AsyncGenerator[None]:
        """What models may call is logged at the start."""
        self.log.info("tools that are on: %s", ", ".join(self._tools) or "none")
        yield

    def missing(self) -> Mapping[str, str]:
        """What is missing for tools that are on, by their names."""
        problems: dict[str, str] = {}
        for name, tool in self._tools.items():
            if tool.program is not None:
                try:
                    _desktop.find(tool.program)
                except CommandFailed as reason:
                    problems[name] = str(reason)
        return problems

    async def tools(self) -> Sequence[ToolSpec]:
        """The tools that are on."""
        return [
            ToolSpec(
                name=tool.name,
                description=tool.description,
                input_schema=schema_of(tool.arguments),
                effect=tool.effect,
                outside=self._is_outside(tool),
                parallel=tool.effect == "read",
                words=tool.words,
            )
            for tool in self._tools.values()
        ]

    def _is_outside(self, tool: Tool) -> bool:
        shows_lines = tool.name == "system_processes" and self.options.command_lines
        return tool.outside or shows_lines

    async def run_tool(self, call: ToolCall) -> ToolResult:
        """Run a call."""
        tool = self._tools.get(call.name)
        if tool is None:
            return unknown_tool(call.name, self._tools)
        state = call.exchange.state
        run = state.get(_RUN) or frozenset()
        if call.id in run:
            return failed("this call was run already; its outcome is in the conversation")
        state[_RUN] = run | {call.id}
        try:
            arguments = tool.arguments.model_validate(dict(call.arguments))
        except ValidationError as error:
            return invalid_arguments(tool.arguments, error)
        try:
            with anyio.fail_after(self.options.timeout_seconds):
                return await self._run(tool, arguments)
        except TimeoutError:
            return failed(f"`{tool.name}` took longer than {self.options.timeout_seconds:g} s")
        except (CommandFailed, OSError, RuntimeError) as error:
            return failed(f"`{tool.name}` failed: {error}")
        except _machine.psutil.Error as error:
            return failed(f"`{tool.name}` failed: the system does not allow it ({error})")

    async def _run(self, tool: Tool, arguments: Any) -> ToolResult:
        match arguments:
            case ProcessArguments():
                return ToolResult.of(await self._processes(arguments))
            case PortArguments():
                return ToolResult.of(await self._read(partial(_processes.ports, arguments.port)))
            case TextArguments():
                await _desktop.set_clipboard(arguments.text)
                return ToolResult.of(f"The clipboard has {len(arguments.text):,} characters now")
            case NoticeArguments():
                await _desktop.notify(harmless(arguments.title), harmless(arguments.message))
                return ToolResult.of("The notification was shown")
            case _:
                return await self._without_arguments(tool)

    async def _without_arguments(self, tool: Tool) -> ToolResult:
        if tool.read is not None:
            return ToolResult.of(await self._read(tool.read))
        if tool.name == "system_clipboard_read":
            return ToolResult.of(await _desktop.clipboard() or "The clipboard has no text")
        kind, data = await _desktop.screenshot()
        source = {"type": "base64", "media_type": kind, "data": data}
        return ToolResult(({"type": "image", "source": source},))

    async def _processes(self, arguments: ProcessArguments) -> str:
        found = await self._read(_processes.started)
        if arguments.sort == "cpu":
            await anyio.sleep(_processes.SAMPLE_SECONDS)
        lines = self.options.command_lines
        return await self._read(partial(_processes.listing, found, arguments, command_lines=lines))

    async def _read(self, work: Callable[[], _T]) -> _T:
        """Run `work` in a thread, which is left behind when the call's time is over."""
        return await anyio.to_thread.run_sync(
            self._counted, work, abandon_on_cancel=True, limiter=self._threads
        )

    def _counted(self, work: Callable[[], _T]) -> _T:
        if not self._hanging.acquire(blocking=False):
            raise CommandFailed("earlier calls still wait for the system")
        try:
            return work()
        finally:
            self._hanging.release()
