"""People from an OpenID Connect provider: the code flow with PKCE, `state` and `nonce`.

Authlib builds the requests and checks the claims, joserfc checks signatures. Specifications:
OpenID Connect Core 1.0 (3.1.2, 3.1.3.7, 5.3) and Discovery 1.0 (4.3), RFC 7636, RFC 9207.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import anyio
import anyio.to_thread
import httpx2
from authlib.common.errors import AuthlibBaseError
from authlib.common.security import generate_token
from authlib.integrations.httpx_client import AsyncOAuth2Client
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry

from plugway import as_list, as_object
from plugway_sign_in._addresses import is_secure
from plugway_sign_in._errors import NotLetIn
from plugway_sign_in._options import OidcOptions

_SECONDS: Final = 10.0
_METADATA_SECONDS: Final = 3600.0
_LEEWAY: Final = 60
"""How far the provider's clock may differ, in seconds."""
_ALGORITHMS: Final = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519",
    "EdDSA",
)  # fmt: skip
"""Signatures with a public key; never `none`, nor those with the client's secret."""


@dataclass(frozen=True, slots=True)
class Redirect:
    """Where the browser goes, and what has to come back."""

    url: str
    state: str
    nonce: str
    verifier: str


@dataclass(frozen=True, slots=True)
class Identity:
    """A person, as the provider knows them."""

    issuer: str
    subject: str
    name: str
    """The value of the claim that names the person."""
    email: str
    groups: tuple[str, ...]


class Provider:
    """One provider. All methods raise `NotLetIn`."""

    def __init__(self, options: OidcOptions, clock: Callable[[], float] = time.time) -> None:
        self.options = options
        self._clock = clock
        self._tls: ssl.SSLContext | None = None
        self._metadata: tuple[float, Mapping[str, Any]] | None = None
        self._keys: Mapping[str, Any] | None = None

    async def begin(self, redirect_uri: str) -> Redirect:
        """Where to send a browser."""
        metadata = await self._discover()
        state, nonce, verifier = generate_token(43), generate_token(43), generate_token(64)
        async with self._client() as client:
            url, _ = client.create_authorization_url(
                metadata["authorization_endpoint"],
                state=state,
                code_verifier=verifier,
                nonce=nonce,
                redirect_uri=redirect_uri,
            )
        return Redirect(url, state, nonce, verifier)

    async def finish(
        self, query: Mapping[str, str], redirect_uri: str, nonce: str, verifier: str
    ) -> Identity:
        """Who signed in, from what the browser brought back; its `state` has been checked."""
        if query.get("iss", self.options.issuer) != self.options.issuer:
            raise NotLetIn("The response came from another provider than the configured one.")
        if "error" in query:
            raise NotLetIn(f"The provider reported `{_printable(query['error'])}`.")
        if not query.get("code"):
            raise NotLetIn("The provider sent no code.")
        metadata = await self._discover()
        async with self._client() as client:
            with anyio.fail_after(_SECONDS):
                token: Mapping[str, Any] = await client.fetch_token(
                    metadata["token_endpoint"],
                    grant_type="authorization_code",
                    code=query["code"],
                    code_verifier=verifier,
                    redirect_uri=redirect_uri,
                )
            claims = await self._claims(client, token, nonce)
            wanted = {self.options.person, "email"}
            if self.options.allowed_groups or self.options.groups:
                wanted.add(self.options.groups_claim)
            if not wanted <= claims.keys() and "userinfo_endpoint" in metadata:
                claims = {**await self._user_info(client, claims["sub"]), **claims}
        return self._identity(claims)

    # ── what the provider says ───────────────────────────────────────────────────────────────

    async def _discover(self) -> Mapping[str, Any]:
        """The provider's metadata, kept for an hour."""
        if self._metadata and 0 <= self._clock() - self._metadata[0] < _METADATA_SECONDS:
            return self._metadata[1]
        url = f"{self.options.issuer.rstrip('/')}/.well-known/openid-configuration"
        async with self._client() as client:
            metadata = await self._fetch(client, url, "metadata")
        if metadata.get("issuer") != self.options.issuer:
            found = _printable(metadata.get("issuer"))
            raise NotLetIn(
                f"The provider calls itself {found}, not {self.options.issuer}: correct `issuer`."
            )
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            if not is_secure(str(metadata.get(name, ""))):
                raise NotLetIn(f"The provider's metadata has no safe `{name}`.")
        self._metadata, self._keys = (self._clock(), metadata), None
        return metadata

    async def _claims(self, client: Any, token: Mapping[str, Any], nonce: str) -> dict[str, Any]:
        """The claims of the ID token, after checking its signature and everything in it that says
        whom it is for."""
        text = token.get("id_token")
        if not isinstance(text, str):
            raise NotLetIn("The provider sent no ID token.")
        registry = JWSRegistry(algorithms=list(_ALGORITHMS), strict_check_header=False)
        try:
            decoded = jwt.decode(text, await self._key_set(client), registry=registry)
        except (JoseError, ValueError):
            # The provider may have new keys.
            self._keys = None
            decoded = jwt.decode(text, await self._key_set(client), registry=registry)
        issuer, own = self.options.issuer, self.options.client_id
        claims: Any = CodeIDToken(
            decoded.claims,
            decoded.header,
            {
                "iss": {"essential": True, "value": issuer},
                "aud": {"essential": True, "value": own},
                "nonce": {"essential": True, "value": nonce},
            },
            {"nonce": nonce, "client_id": own, "access_token": token.get("access_token")},
        )
        claims.validate(now=int(self._clock()), leeway=_LEEWAY)
        return dict(claims)

    async def _key_set(self, client: Any) -> KeySet:
        if self._keys is None:
            metadata = await self._discover()
            self._keys = await self._fetch(client, metadata["jwks_uri"], "keys")
        keys: Any = self._keys
        return KeySet.import_key_set(keys)

    async def _user_info(self, client: Any, subject: str) -> dict[str, Any]:
        metadata = await self._discover()
        url = metadata["userinfo_endpoint"]
        if not is_secure(str(url)):
            raise NotLetIn("The provider's metadata has no safe `userinfo_endpoint`.")
        found = await self._fetch(client, url, "user info", withhold_token=False)
        if found.get("sub") != subject:
            raise NotLetIn("The provider's user info is about somebody else.")
        return found

    # ── who may sign in ──────────────────────────────────────────────────────────────────────

    def _identity(self, claims: Mapping[str, Any]) -> Identity:
        options = self.options
        name, email = _text(claims.get(options.person)), _text(claims.get("email"))
        subject = _text(claims["sub"])
        if not subject or len(subject) > 255:  # OpenID Connect Core 1.0, 2
            raise NotLetIn("The provider's ID token is not valid: `sub` is no text.")
        if not name:
            what = "e-mail address" if options.person == "email" else f"`{options.person}`"
            raise NotLetIn(
                f"The provider sent no {what} of you. Its administrator has to release that claim "
                "to this application, or `person` has to name another one."
            )
        if not email or claims.get("email_verified") in (False, "false"):
            if options.person == "email" or options.domains:
                raise NotLetIn("The provider has not verified your e-mail address.")
            email = ""
        address, _, domain = email.rpartition("@")
        if options.domains and not (address and domain.lower() in options.domains):
            raise NotLetIn("Your e-mail address is of no domain that may sign in here.")
        listed = claims.get(options.groups_claim)
        groups = tuple(str(one) for one in as_list(listed) or ([listed] if listed else []))
        if options.allowed_groups and not set(groups) & set(options.allowed_groups):
            raise NotLetIn("You are in no group that may sign in here.")
        return Identity(options.issuer, subject, name, email, groups)

    # ── requests ─────────────────────────────────────────────────────────────────────────────

    @asynccontextmanager
    async def _client(self) -> AsyncGenerator[Any]:
        """An `AsyncOAuth2Client`, which has no types, for one sign-in. What goes wrong in it is a
        `NotLetIn`."""
        if self._tls is None:
            self._tls = await anyio.to_thread.run_sync(httpx2.create_ssl_context)
        secret = self.options.client_secret
        client: Any = AsyncOAuth2Client(
            self.options.client_id,
            secret.get_secret_value() if secret else None,
            scope=" ".join(self.options.scopes),
            code_challenge_method="S256",
            leeway=0,
            verify=self._tls,
            timeout=_SECONDS,
        )
        try:
            async with client:
                yield client
        except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError) as error:
            raise NotLetIn(
                f"The provider at {self.options.issuer} cannot be reached "
                f"({type(error).__name__}). Try again later."
            ) from error
        except AuthlibBaseError as error:
            raise NotLetIn(f"The provider reported `{_printable(error.error)}`.") from error
        except JoseError as error:
            raise NotLetIn(
                f"The provider's ID token is not valid: {_printable(error.error)}{_claim(error)}."
            ) from error
        except (ValueError, TypeError, KeyError) as error:
            raise NotLetIn("The provider sent something that is not valid.") from error

    async def _fetch(
        self, client: Any, url: str, what: str, *, withhold_token: bool = True
    ) -> dict[str, Any]:
        with anyio.fail_after(_SECONDS):
            answer = await client.request("GET", url, withhold_token=withhold_token)
        if answer.status_code != 200:
            raise NotLetIn(f"The provider answered {answer.status_code} for its {what}.")
        return as_object(answer.json())


def _text(claim: object) -> str:
    """A claim, if it is text that can be shown and stored, else an empty one."""
    return claim.strip() if isinstance(claim, str) and claim.isprintable() else ""


def _claim(error: JoseError) -> str:
    claim = getattr(error, "claim", None)
    return f" (`{_printable(claim)}`)" if claim else ""


def _printable(value: object) -> str:
    """Text of a provider, which may be anything, short enough for a sentence."""
    return "".join(c for c in str(value) if c.isprintable() and c != "`")[:100]
