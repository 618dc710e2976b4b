"""The login as the `codex` command stores it, and its renewal by that command.

`auth.json` is in `CODEX_HOME`, or `~/.codex` (OpenAI's page "Authentication" of Codex; its
shape: `AuthDotJson` in `codex-rs/login/src/auth/storage.rs` of openai/codex). OpenAI's page
"Maintain Codex account auth in CI/CD" asks others not to call the token endpoint themselves but to
run Codex, which renews the login and writes the file; so this module never writes.
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
"""A token that expires sooner is renewed before use."""
_MAX_FILE: Final = 2**20


@dataclass(frozen=True, slots=True)
class Login:
    """The credentials of a request."""

    token: str = field(repr=False)
    account: str = field(default="", repr=False)
    """Id of the ChatGPT account; empty if the file has none."""
    ends: float | None = None
    """Expiry of the token in seconds since 1970; None if it states none."""

    def ends_within(self, seconds: float) -> bool:
        """Whether the token expires within `seconds`."""
        return self.ends is not None and self.ends < time.time() + seconds


class LoginFile:
    """The login, reread whenever its file changes."""

    def __init__(self, home: str, command: CodexCommand, name: str) -> None:
        """`home` is the folder; empty for the command's default. `name` is the backend's."""
        self._home = home
        self._command = command
        self._name = name
        self._stamp: tuple[int, int] | None = None
        self._known: Login | None = None
        self._renewing = anyio.Lock()

    @property
    def path(self) -> Path:
        """The file where the command stores it."""
        home = self._home or os.environ.get("CODEX_HOME", "")
        return (Path(home).expanduser() if home else Path.home() / ".codex") / "auth.json"

    async def current(self) -> Login:
        """The login, renewed if it is about to expire.

        Raises:
            BackendRefused: there is no login, or it has expired and could not be renewed.
        """
        login = await self._read()
        return await self.renewed(login) if login.ends_within(SPARE_SECONDS) else login

    async def renewed(self, spent: Login) -> Login:
        """A newer login than `spent`: from the file if it was renewed already, or from the command.

        Raises:
            BackendRefused: there is no newer login.
        """
        async with self._renewing:
            login = await self._read()
            if login.token != spent.token and not login.ends_within(0):
                return login
            reason = ""
            try:
                await self._command.ask("account/read", {"refreshToken": True})
            except CommandFailed as failure:
                reason = str(failure)  # read the file anyway: it may have been renewed
            login = await self._read()
            if login.token != spent.token and not login.ends_within(0):
                return login
        if not spent.ends_within(0) and spent.ends_within(SPARE_SECONDS):
            return spent
        cause = f": {reason}" if reason else ""
        raise self._refused(f"the login in {self.path} has expired and could not be renewed{cause}")

    async def _read(self) -> Login:
        try:
            found = self.path.stat()
        except OSError:
            raise self._refused(f"no login of the `codex` command at {self.path}") from None
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
            raise self._refused(f"cannot read {self.path}: {error.strerror}") from None
        except orjson.JSONDecodeError:
            raise self._refused(f"{self.path} is not a login file of `codex`") from None
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
                message=f"{self.path} contains an API key instead of a ChatGPT login. Set the key "
                "as `api_key` of the plugin `openai`, as OpenAI recommends",
                permanent=True,
            )
        raise self._refused(f"{self.path} contains no ChatGPT login")

    def _refused(self, problem: str) -> BackendRefused:
        return BackendRefused(
            401,
            b"",
            message=f"{problem}. Run `codex login` and retry (`{self._name}` needs no restart; "
            "if the command keeps its login in the keyring, set `cli_auth_credentials_store = "
            '"file"` in its `config.toml` first)',
            permanent=True,
        )


def claims_of(token: str) -> dict[str, Any]:
    """The claims of a JSON Web Token, unverified: only used for its expiry. Never raises."""
    body = token.split(".")[1] if token.count(".") == 2 else ""
    try:
        return as_object(orjson.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))))
    except (binascii.Error, ValueError):
        return {}
