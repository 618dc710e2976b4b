"""Every exported name: of attributes, spans, events and metrics, with units and buckets.

The `gen_ai.*` names follow OpenTelemetry's semantic conventions for generative AI, which are still
in development: https://github.com/open-telemetry/semantic-conventions-genai, `docs/gen-ai/`
`gen-ai-spans.md` and `gen-ai-metrics.md`, read at commit 002c8a6ea1c8 (November 2026). The others
without the prefix `plugway.` are stable names of https://github.com/open-telemetry/
semantic-conventions, version 1.44.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"
SCOPE: Final = "plugway.telemetry"

# ── attributes of the resource ───────────────────────────────────────────────────────────────────

SERVICE_NAME: Final = "service.name"
SERVICE_VERSION: Final = "service.version"
SERVICE_INSTANCE: Final = "service.instance.id"

# ── attributes of spans and metrics ──────────────────────────────────────────────────────────────

OPERATION: Final = "gen_ai.operation.name"
CHAT: Final = "chat"
PROVIDER: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
REQUEST_STREAM: Final = "gen_ai.request.stream"
RESPONSE_MODEL: Final = "gen_ai.response.model"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
CONVERSATION: Final = "gen_ai.conversation.id"
AGENT: Final = "gen_ai.agent.id"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
"""All input tokens, including those read from a cache and written to it."""
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CACHE_READ_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
CACHE_CREATION_TOKENS: Final = "gen_ai.usage.cache_creation.input_tokens"
TOKEN_TYPE: Final = "gen_ai.token.type"

ERROR_TYPE: Final = "error.type"
STATUS_CODE: Final = "http.response.status_code"
RESEND_COUNT: Final = "http.request.resend_count"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"

PARENT_AGENT: Final = "plugway.agent.parent_id"
REQUEST_ID: Final = "plugway.request.id"
CALLER: Final = "plugway.caller"
OUTCOME: Final = "plugway.outcome"
ENDPOINT: Final = "plugway.endpoint"
BACKEND: Final = "plugway.backend"
ZONE: Final = "plugway.zone"
ATTEMPT: Final = "plugway.attempt.number"
RESULT: Final = "plugway.attempt.result"
SIGNAL: Final = "plugway.signal"

FIRST_CONTENT_EVENT: Final = "plugway.first_content"
SKIPPED_EVENT: Final = "plugway.skipped"

PROVIDERS: Final[Mapping[str, str]] = {
    "google": "gcp.gemini",
    "api.cohere.com": "cohere",
    "api.deepseek.com": "deepseek",
    "api.groq.com": "groq",
    "api.mistral.ai": "mistral_ai",
    "api.moonshot.ai": "moonshot_ai",
    "api.perplexity.ai": "perplexity",
    "api.x.ai": "x_ai",
}
"""Values of `gen_ai.provider.name` for zones that have another name; the rest are equal."""
NO_PROVIDER: Final = "plugway"
"""The provider of a reply that no backend made."""

# ── metrics ──────────────────────────────────────────────────────────────────────────────────────


class Metric(NamedTuple):
    """What is known of a metric before anything is measured."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    unit: str
    """UCUM; in braces for counts of things."""
    description: str
    attributes: tuple[str, ...]
    """An attribute whose value is empty is left out."""
    buckets: tuple[float, ...] = ()


_MODEL: Final = (OPERATION, PROVIDER, REQUEST_MODEL, BACKEND)

TOKEN_USAGE: Final = Metric(
    "gen_ai.client.token.usage",
    "histogram",
    "{token}",
    "Number of input and output tokens used.",
    (*_MODEL, TOKEN_TYPE),
    tuple(float(4**power) for power in range(14)),
)
DURATION: Final = Metric(
    "gen_ai.client.operation.duration",
    "histogram",
    "s",
    "GenAI operation duration.",
    (*_MODEL, ERROR_TYPE),
    # The conventions end at 81.92 s; an agent's streams and local prompts take longer.
    tuple(round(0.01 * 2**power, 2) for power in range(17)),
)
FIRST_TOKEN: Final = Metric(
    "gen_ai.server.time_to_first_token",
    "histogram",
    "s",
    "Time to generate the first token of successful responses.",
    _MODEL,
    # The conventions end at 10 s; local models may need minutes for a long prompt.
    (
        *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0),
        *(7.5, 10.0, 30.0, 60.0, 120.0, 300.0),
    ),
)
EXCHANGES: Final = Metric(
    "plugway.exchanges",
    "counter",
    "{exchange}",
    "Requests by how they ended.",
    (ENDPOINT, OUTCOME, CALLER),
)
TOKENS: Final = Metric(
    "plugway.tokens",
    "counter",
    "{token}",
    "Tokens by caller and kind: input (uncached), cache_read, cache_creation, output.",
    (CALLER, BACKEND, REQUEST_MODEL, TOKEN_TYPE),
)
ATTEMPTS: Final = Metric(
    "plugway.attempts",
    "counter",
    "{attempt}",
    "Attempts by backend and result.",
    (BACKEND, ZONE, RESULT),
)
IN_FLIGHT: Final = Metric(
    "plugway.exchanges.in_flight", "gauge", "{exchange}", "Requests being served.", ()
)
LOOP_LAG: Final = Metric(
    "plugway.loop.lag",
    "histogram",
    "s",
    "How late the event loop runs a timer that is due every second.",
    (),
    (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
)
DROPPED: Final = Metric(
    "plugway.telemetry.dropped",
    "counter",
    "{item}",
    "Spans and sets of metrics that could not be exported.",
    (SIGNAL,),
)
METRICS: Final = (
    *(TOKEN_USAGE, DURATION, FIRST_TOKEN, EXCHANGES, TOKENS, ATTEMPTS),
    *(IN_FLIGHT, LOOP_LAG, DROPPED),
)


def prometheus_name(metric: Metric) -> str:
    """The name in Prometheus, without the `_total` of counters.

    https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/: dots become
    underscores, units become suffixes, and those in braces are left out.
    """
    name = prometheus_label(metric.name)
    return f"{name}_seconds" if metric.unit == "s" else name


def prometheus_label(attribute: str) -> str:
    """The name of an attribute in Prometheus."""
    return attribute.replace(".", "_")
