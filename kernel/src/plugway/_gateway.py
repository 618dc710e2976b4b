"""What a plugin sees of the gateway that it runs in."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.types import Message

from plugway._backend import Backend, Caller, ModelInfo
from plugway._errors import RequestRejected, StreamInterrupted
from plugway._ids import new_request_id
from plugway._json import as_object, loaded
from plugway._request import MessagesRequest

if TYPE_CHECKING:
    from plugway._snapshot import Snapshot


class Gateway:
    """The running gateway under one configuration; a reload makes another."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    @property
    def backends(self) -> Mapping[str, Backend]:
        """The backends by instance name, in the order of the configuration."""
        return self._snapshot.backends

    @property
    def config_path(self) -> Path | None:
        """The configuration file; None where the default stack runs without one."""
        return self._snapshot.config.path

    @property
    def address(self) -> str:
        """The base URL that clients on this machine use."""
        return self._snapshot.config.server.address

    async def models(self) -> Sequence[ModelInfo]:
        """The models of all backends, under the ids that clients see."""
        return await self._snapshot.listed()

    async def ask(
        self, request: MessagesRequest, *, caller: Caller | None = None
    ) -> Mapping[str, Any]:
        """Run an exchange of the plugin's own through the whole pipeline; the finished message.

        Raises:
            RequestRejected: with the status and sentence that a client would have seen.
            StreamInterrupted: the answer broke off.
        """
        asked = _Asked(request)
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/messages",
            "query_string": request.query.encode("latin-1"),
            "headers": [(n.encode("latin-1"), v.encode("latin-1")) for n, v in request.headers],
            "plugway.caller": caller or Caller(),
            "plugway.request_id": new_request_id(),
            "extensions": {"plugway.cut": asked.cut, "plugway.on_leave": _nobody_leaves},
        }
        await self._snapshot.exchanges.serve("messages", scope, asked.receive, asked.send)
        return asked.message()


class _Asked:
    """The client's side of an exchange that has none."""

    def __init__(self, request: MessagesRequest) -> None:
        whole = request.replace(because="its answer is wanted whole", stream=False)
        self._body: bytes | None = whole.raw
        self._status = 0
        self._answer = bytearray()
        self._cut = False

    async def receive(self) -> Message:
        """The request, once; nobody leaves after it."""
        if self._body is None:
            await asyncio.get_running_loop().create_future()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Message) -> None:
        """Keep what is sent."""
        self._status = message.get("status", self._status)
        self._answer += message.get("body", b"")

    def cut(self) -> None:
        """The answer breaks off."""
        self._cut = True

    def message(self) -> Mapping[str, Any]:
        """The answer; raises where it is a failure."""
        if self._cut or not self._status:
            raise StreamInterrupted("the answer broke off")
        answer = loaded(bytes(self._answer))
        if self._status < 400:
            return answer
        message = as_object(answer.get("error")).get("message") or f"status {self._status}"
        raise RequestRejected(str(message), status=self._status)


def _nobody_leaves(left: object) -> None:
    del left
