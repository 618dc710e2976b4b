"""Options of backends with one base URL."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, ValidationInfo, field_validator

from plugway import NetworkOptions, Secret, url_problem


def checked_url(url: str, *, with_key: bool) -> str:
    """`url` without a trailing slash. Raises `ValueError` if it is not allowed."""
    if problem := url_problem(url, with_key=with_key):
        raise ValueError(problem)
    url = url.rstrip("/")
    for end in ("/v1", "/v1/messages", "/v1/chat/completions"):
        if url.endswith(end):
            raise ValueError(
                f"it must not end in `{end}`: the API's paths already start with `/v1`"
            )
    return url


def _name_fits(zone: str) -> str:
    if not zone.strip() or not zone.isprintable():
        raise ValueError("should be `local`, or the name of the company that sees the data")
    return zone


class AddressOptions(NetworkOptions):
    """The URL of a server, and its key."""

    api_key: Secret | None = None
    """Key of the server: `{$keyring: NAME}`, `{$env: NAME}` or `{$file: PATH}`."""
    base_url: str
    """URL of the server, without `/v1`. With a key it must be https or on this machine."""

    @field_validator("base_url")
    @classmethod
    def _address_is_safe(cls, url: str, info: ValidationInfo) -> str:
        return checked_url(url, with_key=info.data.get("api_key") is not None)


class EndpointOptions(AddressOptions):
    """Options of a server that is not Anthropic's."""

    key_header: Literal["authorization", "x-api-key"] = "authorization"
    """Header for the key; `authorization` sends it as `Bearer`."""
    zone: Annotated[str, AfterValidator(_name_fits)] | None = None
    """Who receives the data; by default `local` on this machine, else the host name."""
