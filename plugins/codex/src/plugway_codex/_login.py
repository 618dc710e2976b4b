"""The login as the `codex` command keeps it, and its renewal by that command.

`auth.json` stands in `CODEX_HOME`, or `~/.codex` (OpenAI's page "Authentication" of Codex; its
shape: `AuthDotJson` in `codex-rs/login/src/auth/storage.rs` of openai/codex). OpenAI's page
"Maintain Codex account auth in CI/CD" asks others not to call the token endpoint themselves but to
run Codex, which renews the login and writes the file; so nothing is ever written here.
"""

from __future__ import annotations

import base64
import binascii
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread
import orjson

from plugway import BackendRefused, as_object
from plugway_codex._command import CodexCommand, CommandFailed

SPARE_SECONDS: Final = 120.0
"""A token that ends sooner is renewed before it is used."""
_MAX_FILE: Final = 2**20


@dataclass(frozen=True, slots=True)
class Login:
    """What a request is sent with."""

    token: str = field(repr=False)
    account: str = field(default="", repr=False)
    """Id of the ChatGPT account; empty where the file has none."""
    ends: float | None = None
    """When the token ends, in seconds since 1970, where it says so."""

    def ends_within(self, seconds: float) -> bool:
        """Whether it is over by then."""
        return self.ends is not None and self.ends < time.time() + seconds


class LoginFile:
    """The login, read again whenever its file changes."""

    def __init__(self, home: str, command: CodexCommand, name: str) -> None:
        """`home` is the folder; empty for that of the command. `name` is the backend's."""
        self._home = home
        self._command = command
        self._name = name
        self._stamp: tuple[int, int] | None = None
        self._known: Login | None = None
        self._renewing = anyio.Lock()

    @property
    def path(self) -> Path:
        """Where the command keeps it."""
        home = self._home or os.environ.get("CODEX_HOME", "")
        return (Path(home).expanduser() if home else Path.home() / ".codex") / "auth.json"

    async def current(self) -> Login:
        """The login, renewed where it is about to end.

        Raises:
            BackendRefused: there is none, or it has ended and could not be renewed.
        """
        login = await self._read()
        return await self.renewed(login) if login.ends_within(SPARE_SECONDS) else login

    async def renewed(self, spent: Login) -> Login:
        """Another login than `spent`: the file's, where somebody has renewed it, or the command's.

        Raises:
            BackendRefused: there is none to be had.
        """
        async with self._renewing:
            login = await self._read()
            if login.token != spent.token and not login.ends_within(0):
                return login
            reason = ""
            try:
                await self._command.ask("account/read", {"refreshToken": True})
            except CommandFailed as failure:
                reason = str(failure)  # the file is looked at all the same: it may have come so far
            login = await self._read()
            if login.token != spent.token and not login.ends_within(0):
                return login
        if not spent.ends_within(0) and spent.ends_within(SPARE_SECONDS):
            return spent
        told = f": {reason}" if reason else ""
        raise self._refused(f"the login in {self.path} has ended and was not renewed{told}")

    async def _read(self) -> Login:
        try:
            found = self.path.stat()
        except OSError:
            raise self._refused(
                f"there is no login of the `codex` command at {self.path}"
            ) from None
        stamp = found.st_mtime_ns, found.st_size
        if self._known is None or stamp != self._stamp:
            self._known = await self._parsed()
            self._stamp = stamp
        return self._known

    async def _parsed(self) -> Login:
        try:
            raw = await anyio.to_thread.run_sync(self.path.read_bytes)
            members = as_object(orjson.loads(raw[:_MAX_FILE]))
        except OSError as error:
            raise self._refused(f"{self.path} cannot be read: {error.strerror}") from None
        except orjson.JSONDecodeError:
            raise self._refused(f"{self.path} is not what `codex` writes there") from None
        tokens = as_object(members.get("tokens"))
        token = tokens.get("access_token")
        if isinstance(token, str) and token:
            claims = claims_of(token)
            account = tokens.get("account_id") or as_object(
                claims.get("https://api.openai.com/auth")
            ).get("chatgpt_account_id")
            ends = claims.get("exp")
            return Login(
                token,
                account if isinstance(account, str) else "",
                float(ends) if isinstance(ends, int | float) else None,
            )
        if members.get("OPENAI_API_KEY"):
            raise BackendRefused(
                401,
                b"",
                message=f"{self.path} holds an API key, and no login of ChatGPT. For a key there "
                "is the plugin `openai` with `api_key`, which is what OpenAI recommends",
                permanent=True,
            )
        raise self._refused(f"{self.path} holds no login of ChatGPT")

    def _refused(self, problem: str) -> BackendRefused:
        return BackendRefused(
            401,
            b"",
            message=f"{problem}. Run `codex login` and ask again (`{self._name}` needs no restart; "
            "where the command keeps its login in the keyring, set `cli_auth_credentials_store = "
            '"file"` in its `config.toml` first)',
            permanent=True,
        )


def claims_of(token: str) -> dict[str, Any]:
    """What a JSON Web Token says of itself, unverified: only to know when it ends. Never raises."""
    body = token.split(".")[1] if token.count(".") == 2 else ""
    try:
        return as_object(orjson.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))))
    except (binascii.Error, ValueError):
        return {}
