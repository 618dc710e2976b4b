"""The backend for the login of the `codex` command: whose login, and what its refusals mean."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import orjson
from pydantic import field_validator

from plugway import (
    Attempt,
    Backend,
    BackendError,
    BackendRefused,
    BackendUnavailable,
    Headers,
    MessagesRequest,
    ModelInfo,
    NetworkOptions,
    Plugin,
    Reply,
    Upstream,
    as_list,
    as_object,
    hookimpl,
    url_problem,
)
from plugway_capabilities import Ledger
from plugway_codex._api import CodexApi
from plugway_codex._command import CodexCommand, CommandFailed
from plugway_codex._login import Login, LoginFile
from plugway_openai_wire import Endpoint, OpenAIBackend
from plugway_translation import MediaPolicy

MODELS_SECONDS: Final = 3600.0
"""How long the list of the command is believed."""


class CodexOptions(NetworkOptions):
    """Options of `codex`."""

    home: str = ""
    """Folder of the command's `auth.json`; `CODEX_HOME` or `~/.codex` unless set."""
    command: str = "codex"
    """The command, which renews the login and knows the models: a name in `PATH`, or a path."""
    models: tuple[str, ...] = ()
    """Models to list; those that the command lists unless set."""
    base_url: str = "https://chatgpt.com/backend-api/codex"
    """Address of the endpoint that the login is for. It must be https, or on this machine."""
    media: MediaPolicy = "placeholder"
    """What becomes of images and documents that a model cannot take: words in their place, or a
    400 (`reject`)."""
    zone: str = "openai"
    """In whose hands the data is."""

    @field_validator("base_url")
    @classmethod
    def _address_is_safe(cls, url: str) -> str:
        if problem := url_problem(url, with_key=True):
            raise ValueError(problem)
        return url.rstrip("/")


class _LoginRefused(BackendRefused):
    """The endpoint did not accept the login."""


class CodexBackend(OpenAIBackend):
    """The endpoint under the user's own login."""

    def __init__(self, name: str, options: CodexOptions) -> None:
        super().__init__(
            name,
            options.zone,
            Upstream(options.base_url, network=options, zone=options.zone),
            CodexApi(media=options.media),
            provider="codex",
            ledger=Ledger(),
            endpoint=Endpoint(headers={"originator": "plugway"}),
        )
        self.command = CodexCommand(options.command, options.home)
        self.login = LoginFile(options.home, self.command, name)
        self._models = options.models
        self._listed: tuple[float, list[ModelInfo]] | None = None

    async def send(self, request: MessagesRequest, attempt: Attempt) -> Reply:
        """The answer; with a login that is not accepted once more, renewed."""
        login = await self.login.current()
        try:
            return await super().send(request, attempt)
        except _LoginRefused:
            await self.login.renewed(login)
        try:
            return await super().send(request, attempt)
        except _LoginRefused as refusal:
            what = f"the login in {self.login.path} is not accepted"
            raise BackendRefused(
                401,
                b"",
                message=f"{what} ({refusal.message}). Run `codex login`; `{self.name}` needs no "
                "restart",
                permanent=True,
                record=what,
            ) from None

    async def models(self) -> Sequence[ModelInfo]:
        """The models as set, or as the command lists them."""
        if self._models:
            return [self._described({"model": name}) for name in self._models]
        if self._listed is None or self._listed[0] < time.monotonic() - MODELS_SECONDS:
            try:
                answer = await self.command.ask("model/list", {})
            except CommandFailed as failure:
                raise BackendUnavailable(f"{failure}; or list them in `models`") from None
            found = [as_object(entry) for entry in as_list(answer.get("data"))]
            listed = [self._described(e) for e in found if isinstance(e.get("model"), str)]
            self._listed = time.monotonic(), listed
        return self._listed[1]

    async def credentials(self, attempt: Attempt) -> Mapping[str, str]:
        """The login's lines."""
        return lines_of(await self.login.current())

    def lines(self, request: MessagesRequest) -> Headers:
        """The header lines of a request; the endpoint streams only."""
        kept = tuple(line for line in super().lines(request) if line[0] != "accept")
        return (*kept, ("accept", "text/event-stream"))

    def refused(self, refusal: BackendRefused) -> BackendError:
        """The failure that an error status stands for, in words that say what can be done."""
        match refusal.status:
            case 401:
                return _LoginRefused(401, refusal.body, headers=refusal.headers)
            case 403 | 404 if not _is_json(refusal.body):
                return _not_let_in(refusal)
            case 429:
                return _used_up(refusal)
            case _:
                return refusal

    def _described(self, entry: Mapping[str, Any]) -> ModelInfo:
        name = str(entry["model"])
        facts = self.facts(name)
        sees = "inputModalities" not in entry or "image" in as_list(entry["inputModalities"])
        return ModelInfo(
            id=name,
            display_name=str(entry.get("displayName") or ""),
            context_tokens=facts.context_tokens,
            max_output_tokens=facts.max_output_tokens,
            capabilities=frozenset({"tools", "thinking"} | ({"images"} if sees else set())),
        )


class Codex(Plugin[CodexOptions]):
    """Registers the login of the `codex` command as a backend."""

    def __init__(self, options: CodexOptions, *, name: str = "") -> None:
        super().__init__(options, name=name)
        self.backend = CodexBackend(self.name, options)

    def check(self, zones: Mapping[str, str]) -> Sequence[tuple[tuple[str | int, ...], str]]:
        """Nothing is wrong; a command or a login that is not there is odd."""
        if missing := self.backend.command.missing:
            self.log.warning("%s", missing)
        path = self.backend.login.path
        if not path.exists():
            self.log.warning("there is no login at %s: run `codex login`", path)
        return ()

    @hookimpl
    def register_backends(self) -> list[Backend]:
        """The backend under the name of this instance."""
        return [self.backend]

    @hookimpl
    def lifespan(self) -> AbstractAsyncContextManager[object]:
        """Open connections are kept from start to end."""
        return self.backend


def lines_of(login: Login) -> dict[str, str]:
    """The credential lines for a login."""
    lines = {"authorization": f"Bearer {login.token}"}
    return {**lines, "chatgpt-account-id": login.account} if login.account else lines


def _not_let_in(refusal: BackendRefused) -> BackendRefused:
    """A web page instead of an answer: who asks was not let in."""
    return BackendRefused(
        403,
        b"",
        headers=refusal.headers,
        message=f"the endpoint of the `codex` login did not let this request in ({refusal.status}, "
        "a web page). Plugway says who it is and does not pass for the `codex` command; where that "
        "is not accepted, use the plugin `openai` with an API key",
        permanent=True,
    )


def _used_up(refusal: BackendRefused) -> BackendRefused:
    """A limit of the plan says when it is over: `resets_in_seconds`."""
    error = as_object(as_object(_parsed(refusal.body)).get("error"))
    seconds = error.get("resets_in_seconds")
    if refusal.retry_after is not None or not isinstance(seconds, int | float) or seconds < 0:
        return refusal
    return BackendRefused(429, refusal.body, headers=refusal.headers, retry_after=float(seconds))


def _is_json(body: bytes) -> bool:
    return _parsed(body) is not None


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
