"""The options of the plugin."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from plugway import NetworkOptions, Secret, url_problem

_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
_OWN: Final = frozenset(
    ("accept", "connection", "content-length", "content-type", "host", "transfer-encoding")
)
"""Headers that the exporter or its HTTP client writes."""
_SECRET: Final = re.compile(r"auth|cookie|key|pass|secret|team|token", re.IGNORECASE)
_ATTRIBUTE: Final = re.compile(r"[a-z][a-z0-9_.]{0,63}")


def _header_name(name: str) -> str:
    if not _HEADER.fullmatch(name):
        raise ValueError(f"{name!r} is not a valid header name")
    return name.lower()


class TelemetryOptions(NetworkOptions):
    """Options of `telemetry`. Without `endpoint`, `scrape` and `port` it does nothing."""

    endpoint: str | None = None
    """Base URL of an OpenTelemetry collector that accepts OTLP over HTTP, such as
    `http://127.0.0.1:4318`. `/v1/traces` and `/v1/metrics` are appended."""
    traces: bool = True
    """Send traces to `endpoint`."""
    metrics: bool = True
    """Send metrics to `endpoint`."""
    credential: Secret | None = None
    """Value of the header that authenticates at `endpoint`, with its scheme, such as `Basic …`:
    `{$env: NAME}`, `{$keyring: NAME}` or `{$file: PATH}`."""
    credential_header: Annotated[str, AfterValidator(_header_name)] = "authorization"
    """Name of that header."""
    headers: dict[str, str] = Field(default_factory=dict[str, str], max_length=16)
    """Other headers for `endpoint`, such as `x-scope-orgid`. They must not be secret."""
    sample: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of new traces that is exported. If the client sends a `traceparent`, its own decision
    counts instead."""
    ids: Literal["hashed", "plain", "off"] = "hashed"
    """How traces contain the ids of conversations and subagents. Metrics never contain them."""
    scrape: bool = False
    """Serve `GET /metrics` for Prometheus on the gateway's own port, with the gateway's token."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Serve `GET /metrics` on this port too. Set `scrape_token`, or `open_port`."""
    host: str = "127.0.0.1"
    """Address to listen on at `port`."""
    scrape_token: Secret | None = None
    """Bearer token that `port` requires: `{$env: NAME}`, `{$keyring: NAME}` or `{$file: PATH}`."""
    open_port: bool = False
    """Serve `port` to everybody who can connect, without a token."""
    models: Annotated[tuple[str, ...], Field(max_length=200)] = ()
    """Models, by the backend's own name, that always have their own metrics."""
    max_models: Annotated[int, Field(ge=0, le=200)] = 50
    """Most other models with their own metrics: those that have answered. Further ones are counted
    as `other`."""
    span_seconds: Annotated[float, Field(gt=0, le=60)] = 5.0
    """Longest time that spans wait until they are sent."""
    metric_seconds: Annotated[float, Field(gt=0, le=3600)] = 60.0
    """Time between two exports of metrics to `endpoint`."""
    service_name: Annotated[str, Field(min_length=1, max_length=100)] = "plugway"
    """`service.name` of everything that is exported to `endpoint`."""
    resource: dict[str, str] = Field(default_factory=dict[str, str], max_length=32)
    """More attributes of the resource, such as `deployment.environment.name: staging`."""

    @field_validator("headers")
    @classmethod
    def _headers_fit(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            _header_name(name)
            if name.lower() in _OWN:
                raise ValueError(f"`{name}` is set by the exporter itself: remove it")
            if _SECRET.search(name):
                raise ValueError(f"`{name}` looks secret: use `credential` and `credential_header`")
            if not (value.isascii() and value.isprintable()):
                raise ValueError(f"the value of `{name}` should be printable ASCII")
        return {name.lower(): value for name, value in headers.items()}

    @field_validator("resource")
    @classmethod
    def _resource_fits(cls, resource: dict[str, str]) -> dict[str, str]:
        for name in resource:
            if not _ATTRIBUTE.fullmatch(name):
                raise ValueError(f"{name!r} should be a name such as `deployment.environment.name`")
        return resource

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.endpoint is not None:
            problem = url_problem(self.endpoint, with_key=self.credential is not None)
            if problem:
                raise ValueError(f"`endpoint`: {problem}")
            if self.endpoint.rstrip("/").endswith(("/v1/traces", "/v1/metrics")):
                raise ValueError("`endpoint`: write it without `/v1/traces`, which is appended")
        if self.port is not None and (self.scrape_token is None) is not self.open_port:
            raise ValueError("`port`: set either `scrape_token` or `open_port`")
        return self

    @property
    def exports_traces(self) -> bool:
        """Whether spans are made."""
        return self.endpoint is not None and self.traces

    @property
    def is_scraped(self) -> bool:
        """Whether Prometheus can fetch metrics."""
        return self.scrape or self.port is not None

    @property
    def measures(self) -> bool:
        """Whether metrics are kept."""
        return self.is_scraped or (self.endpoint is not None and self.metrics)
