"""The backend for the login of the `codex` command, and the meaning of its errors."""

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
"""How long the command's list of models is cached."""


class CodexOptions(NetworkOptions):
    """Options of `codex`."""

    home: str = ""
    """Folder of the command's `auth.json`; by default `CODEX_HOME` or `~/.codex`."""
    command: str = "codex"
    """The command, which renews the login and knows the models: a name in `PATH`, or a path."""
    models: tuple[str, ...] = ()
    """Models to list; by default those that the command lists."""
    base_url: str = "https://chatgpt.com/backend-api/codex"
    """URL of the login's endpoint. It must be https or on this machine."""
    media: MediaPolicy = "placeholder"
    """How to treat images and documents that a model does not accept: `placeholder` replaces them
    with text, `reject` returns a 400."""
    zone: str = "openai"
    """Who receives the data."""

    @field_validator("base_url")
    @classmethod
    def _address_is_safe(cls, url: str) -> str:
        if problem := url_problem(url, with_key=True):
            raise ValueError(problem)
        return url.rstrip("/")


class _LoginRefused(BackendRefused):
    """The endpoint rejected the login."""


class CodexBackend(OpenAIBackend):
    """The endpoint, with the user's own login."""

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
        """The reply; if the login is rejected, renew it and send once more."""
        login = await self.login.current()
        try:
            return await super().send(request, attempt)
        except _LoginRefused:
            await self.login.renewed(login)
        try:
            return await super().send(request, attempt)
        except _LoginRefused as refusal:
            what = f"the endpoint rejected the login in {self.login.path}"
            raise BackendRefused(
                401,
                b"",
                message=f"{what} ({refusal.message}). Run `codex login`; `{self.name}` needs no "
                "restart",
                permanent=True,
                record=what,
            ) from None

    async def models(self) -> Sequence[ModelInfo]:
        """The configured models, or those that the command lists."""
        if self._models:
            return [self._described({"model": name}) for name in self._models]
        if self._listed is None or self._listed[0] < time.monotonic() - MODELS_SECONDS:
            try:
                answer = await self.command.ask("model/list", {})
            except CommandFailed as failure:
                raise BackendUnavailable(
                    f"{failure}; or list the models in the option `models`"
                ) from None
            found = [as_object(entry) for entry in as_list(answer.get("data"))]
            listed = [self._described(e) for e in found if isinstance(e.get("model"), str)]
            self._listed = time.monotonic(), listed
        return self._listed[1]

    async def credentials(self, attempt: Attempt) -> Mapping[str, str]:
        """The login's headers."""
        return lines_of(await self.login.current())

    def lines(self, request: MessagesRequest) -> Headers:
        """The headers of a request; the endpoint only streams."""
        kept = tuple(line for line in super().lines(request) if line[0] != "accept")
        return (*kept, ("accept", "text/event-stream"))

    def refused(self, refusal: BackendRefused) -> BackendError:
        """Map an error status to a failure whose message names the fix."""
        match refusal.status:
            case 401:
                return _LoginRefused(401, refusal.body, headers=refusal.headers)
            case 403 | 404 if not _is_json(refusal.body):
                return _rejected(refusal)
            case 429:
                return _limit_reached(refusal)
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
        """Report no problems; warn if the command or the login is missing."""
        if missing := self.backend.command.missing:
            self.log.warning("%s", missing)
        path = self.backend.login.path
        if not path.exists():
            self.log.warning("no login at %s: run `codex login`", path)
        return ()

    @hookimpl
    def register_backends(self) -> list[Backend]:
        """Return the backend under this instance's name."""
        return [self.backend]

    @hookimpl
    def lifespan(self) -> AbstractAsyncContextManager[object]:
        """Keep connections open while the gateway runs."""
        return self.backend


def lines_of(login: Login) -> dict[str, str]:
    """The credential headers for a login."""
    lines = {"authorization": f"Bearer {login.token}"}
    return {**lines, "chatgpt-account-id": login.account} if login.account else lines


def _rejected(refusal: BackendRefused) -> BackendRefused:
    """A web page instead of a response: the endpoint rejected this client."""
    return BackendRefused(
        403,
        b"",
        headers=refusal.headers,
        message=f"the endpoint of the `codex` login rejected this request ({refusal.status}, "
        "a web page). Plugway identifies itself and does not imitate the `codex` command; if that "
        "is not accepted, use the plugin `openai` with an API key",
        permanent=True,
    )


def _limit_reached(refusal: BackendRefused) -> BackendRefused:
    """A limit of the plan, which states when it resets: `resets_in_seconds`."""
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
