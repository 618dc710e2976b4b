"""Options: which of Apple's models, and how they are reached."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from plugway import NetworkOptions, Secret, url_problem

Way = Literal["fm-serve", "apfel", "in-process"]
Tier = Literal["system", "pcc"]

PCC_ZONE: Final = "apple-private-cloud-compute"
"""The zone of Apple's servers; nothing that is sent there stays on this machine."""
ADDRESSES: Final = {
    "fm-serve": "http://127.0.0.1:1976/v1",
    "apfel": "http://127.0.0.1:11434/v1",
}
"""The servers' own defaults: `fm serve --port 1976` in its help, apfel's README."""
WINDOWS: Final = {"system": 4096, "pcc": 32_768}
"""Tokens of prompt and reply. `system`: Apple's TN3193; `pcc`: measured by fm-proxy's authors."""


def _name_fits(zone: str) -> str:
    if not zone.strip() or not zone.isprintable():
        raise ValueError("should be `local`, or the name of whoever sees the data")
    return zone


class AppleIntelligenceOptions(NetworkOptions):
    """Options of `apple-intelligence`."""

    run: Way = "fm-serve"
    """How the models are reached: `fm-serve` (macOS 27), `apfel` (macOS 26), or `in-process`
    through Apple's Python SDK (macOS 26, with the extra `in-process`)."""
    tier: Tier = "system"
    """`system` runs on the Mac. `pcc` is Private Cloud Compute, on Apple's servers: another zone,
    and only with `fm-serve`."""
    base_url: str = ""
    """URL of the server, ending in `/v1`; by default the server's own default port on this machine.
    With a key it must be https or on this machine."""
    api_key: Secret | None = None
    """Token of the server (`apfel --token`): `{$keyring: NAME}`, `{$env: NAME}` or
    `{$file: PATH}`."""
    zone: Annotated[str, AfterValidator(_name_fits)] | None = None
    """Who receives the data; by default `local` on this machine, else the host name. With
    `tier: pcc` always `apple-private-cloud-compute`."""
    context_tokens: int | None = Field(default=None, ge=256)
    """Window to state, in tokens, if the server's differs: 4,096 for `system`, 32,768 for `pcc`.
    In process the SDK reports it."""
    parallel: int = Field(default=1, ge=1, le=16)
    """In process: requests that run at the same time; the others wait for their turn."""
    guardrails: Literal["default", "permissive"] = "default"
    """In process: `permissive` allows Apple's model to transform text that its default guardrails
    block."""

    @model_validator(mode="after")
    def _fits(self) -> AppleIntelligenceOptions:
        if self.tier == "pcc" and self.run != "fm-serve":
            raise ValueError("`tier: pcc` needs `run: fm-serve`: nothing else reaches it")
        if self.tier == "pcc" and self.zone not in (None, PCC_ZONE):
            raise ValueError(
                f"`zone`: Private Cloud Compute is on Apple's servers; its zone is `{PCC_ZONE}`"
            )
        if self.run == "in-process" and (self.base_url or self.zone):
            raise ValueError("`base_url` and `zone` are for a server, not for `in-process`")
        if problem := self.address and url_problem(self.address, with_key=bool(self.api_key)):
            raise ValueError(f"`base_url`: {problem}")
        return self

    @property
    def address(self) -> str:
        """The server's URL; empty in process."""
        return (self.base_url or ADDRESSES.get(self.run, "")).rstrip("/")

    @property
    def window(self) -> int:
        """Tokens of prompt and reply."""
        return self.context_tokens or WINDOWS[self.tier]
