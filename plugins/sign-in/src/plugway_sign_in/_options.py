"""The options of the plugin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

import orjson
from pydantic import Field, field_validator, model_validator

from plugway import Options, Secret
from plugway_sign_in._addresses import is_origin, is_secure

_Word = Annotated[str, Field(min_length=1, max_length=200)]


class OidcOptions(Options):
    """An OpenID Connect provider that people sign in with."""

    label: Annotated[str, Field(min_length=1, max_length=60)] = "your organization"
    """Name of the provider on the page: `Continue with …`."""
    issuer: str
    """The provider's issuer, exactly as in its `/.well-known/openid-configuration`."""
    client_id: _Word
    """Id under which this gateway is registered with the provider. The address to register for
    redirects is the gateway's, with the path `/device/callback`."""
    client_secret: Secret | None = None
    """Secret of that registration; none for a public client."""
    scopes: tuple[_Word, ...] = ("openid", "email", "profile")
    """What is requested; some providers send groups only with a scope of their own."""
    person: _Word = "email"
    """The claim that names somebody who signs in for the first time. An address becomes the part
    before `@` if `domains` has one domain, and else `ann_at_example.com`. Claims that the ID token
    lacks are read from the provider's user info."""
    domains: tuple[_Word, ...] = ()
    """Domains of e-mail addresses that may sign in; empty for all."""
    groups_claim: _Word = "groups"
    """The claim with the person's groups at the provider."""
    allowed_groups: tuple[_Word, ...] = ()
    """Groups at the provider that may sign in; empty for all."""
    groups: Mapping[_Word, _Word] = {}
    """The group in `accounts` for a group at the provider. At each sign-in the person joins those
    that the provider names, and leaves the other ones of these."""
    create: bool = True
    """Whether people who are not in `accounts` are added when they first sign in. If not, somebody
    adds them before: `plugway users add ann`."""
    models: tuple[_Word, ...] = ("*",)
    """Patterns of `instance/model` granted to people who are added so; `[]` for those of their
    groups only."""

    @field_validator("issuer")
    @classmethod
    def _issuer_is_an_address(cls, issuer: str) -> str:
        if not is_secure(issuer) or urlsplit(issuer).query or urlsplit(issuer).fragment:
            raise ValueError("should be the provider's `https://` address, without query")
        return issuer

    @field_validator("scopes")
    @classmethod
    def _openid_is_requested(cls, scopes: tuple[str, ...]) -> tuple[str, ...]:
        if "openid" not in scopes:
            raise ValueError("should contain `openid`, without which there is no ID token")
        return scopes

    @field_validator("domains")
    @classmethod
    def _domains_are_names(cls, domains: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [one for one in domains if "@" in one or "." not in one.strip(".")]:
            raise ValueError(f"{wrong[0]!r} is not a domain: write `example.com`")
        return tuple(one.lower() for one in domains)


class SignInOptions(Options):
    """Options of `sign-in`."""

    public_url: str = ""
    """Address under which clients and browsers reach the gateway, such as
    `https://gateway.example.com`. Empty to take the host of each request, with `http` for this
    machine and `https` for all others, as Claude Code requires."""
    passwords: bool = True
    """Whether people sign in with the password that `accounts` has of them."""
    oidc: OidcOptions | None = None
    """An OpenID Connect provider that people sign in with."""
    notice: Annotated[str, Field(max_length=500)] = ""
    """Text that Claude Code shows next to the code while somebody signs in."""
    access_minutes: Annotated[int, Field(ge=1, le=24 * 60)] = 60
    """Lifetime of an access token; clients renew it unnoticed."""
    idle_days: Annotated[int, Field(ge=1, le=365)] = 30
    """How long a sign-in lasts that is not used."""
    session_days: Annotated[int, Field(ge=1, le=3650)] = 90
    """How long a sign-in lasts in any case."""
    reuse_hours: Annotated[int, Field(ge=0, le=2160)] = 168
    """How long a refresh token works again after its first use. A later use ends the sign-in, as
    the token may have been stolen. Each running Claude Code of a person renews on its own, from
    the token that it had when it started: with 0, a second terminal signs out the first."""
    code_minutes: Annotated[int, Field(ge=1, le=60)] = 10
    """How long a code that Claude Code shows can be entered."""
    settings: Mapping[str, Any] | None = None
    """Claude Code's managed settings for everybody who signs in; none if not given."""
    group_settings: Mapping[str, Mapping[str, Any]] = {}
    """Managed settings by group, which are merged into `settings`: objects key by key, and for
    everything else the group's value. Of somebody's groups, the one listed last wins."""

    @field_validator("public_url")
    @classmethod
    def _public_url_is_an_origin(cls, url: str) -> str:
        if url and not is_origin(url):
            raise ValueError(
                "should be `https://` and a host, without a path; `http://` only for this machine"
            )
        return url.rstrip("/").lower()

    @field_validator("settings", "group_settings")
    @classmethod
    def _settings_are_json(cls, value: Any) -> Any:
        try:
            orjson.dumps(value)
        except TypeError as error:
            raise ValueError(f"cannot be sent as JSON: {error}") from None
        return value

    @model_validator(mode="after")
    def _there_is_a_way_in(self) -> Self:
        if not self.passwords and self.oidc is None:
            raise ValueError("nobody could sign in: allow `passwords`, or set `oidc`")
        return self
