"""Selects the headers that are sent to a server. Pure functions.

Credentials are added later, when the connection exists.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from plugway import Headers

CREDENTIALS: Final = frozenset(
    (
        "authorization",
        "x-api-key",
        "api-key",
        "x-goog-api-key",
        "cookie",
        "proxy-authorization",
        "proxy-connection",
        "plugway-token",
    )
)
"""Headers that carry credentials, or are meant for an intermediary."""

VERSION: Final = ("anthropic-version", "2023-06-01")
"""The API version of the gateway's own requests, and of clients that send none."""

_OWN: Final = CREDENTIALS | frozenset(
    (
        "host",
        "content-length",
        "accept-encoding",
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "expect",
        "forwarded",
        "x-real-ip",
    )
)
_OWN_PREFIXES: Final = ("plugway-", "x-forwarded-")
_FOREIGN: Final = frozenset(
    (
        "conversation-id",
        "conversation_id",
        "http-referer",
        "originator",
        "session-id",
        "session_id",
        "thread-id",
        "thread_id",
        "x-opencode-session",
        "x-session-affinity",
        "x-title",
    )
)
_FOREIGN_PREFIXES: Final = (
    "chatgpt-",
    "codex-",
    "openai-",
    "x-codex-",
    "x-gemini-",
    "x-goog-",
    "x-kilo",
    "x-openai-",
    "x-openrouter-",
    "x-openwebui-",
)
"""Headers for other vendors. `openai-organization`, `openai-project`, `openai-beta`: OpenAI's API
reference, "Authentication". `chatgpt-account-id`, `originator`, `session-id` and the like:
`codex-rs/core/src/client.rs` of openai/codex. `x-session-affinity`, `x-opencode-session`:
`packages/opencode/src/session/llm/request.ts` of anomalyco/opencode. `x-goog-user-project` and
`x-goog-api-client`: Google Cloud's "System parameters". `http-referer` and `x-title`: OpenRouter's
"App attribution". `x-kilo-session` and the like: that file of Kilo-Org/kilocode.
`x-openwebui-user-email` and the like: Open WebUI's `ENABLE_FORWARD_USER_INFO_HEADERS`."""
_PLAIN: Final = frozenset(("content-type", "accept"))
_PLAIN_PREFIXES: Final = ("anthropic-", "x-claude-code-")


def open_headers(lines: Headers) -> Headers:
    """All headers except hop-by-hop headers, credentials and headers for other vendors: for
    Anthropic itself, from a client of its API."""
    return tuple(
        line
        for line in lines
        if line[0] not in _OWN
        and line[0] not in _FOREIGN
        and not line[0].startswith((*_OWN_PREFIXES, *_FOREIGN_PREFIXES))
    )


def plain_headers(lines: Headers) -> Headers:
    """Only the headers that the protocol needs; nothing else about the client."""
    kept = [line for line in lines if line[0] in _PLAIN or line[0].startswith(_PLAIN_PREFIXES)]
    return (*kept, ("user-agent", "plugway"))


def versioned(lines: Headers) -> Headers:
    """Add the required API version, unless the client has sent one.

    https://platform.claude.com/docs/en/api/versioning: requests without it are rejected.
    """
    given = dict(lines).get(VERSION[0], "")
    return lines if given.strip() else replaced(lines, dict((VERSION,)))


def translated_headers(lines: Headers) -> Headers:
    """The headers of a translated request: its body is JSON for one version of the API, and the
    client's headers are meant for another vendor."""
    own = {"content-type": "application/json", **dict((VERSION,))}
    return replaced(plain_headers(lines), own)


def replaced(lines: Headers, extra: Mapping[str, str]) -> Headers:
    """Add `extra`; each header replaces those of the same name."""
    if not extra:
        return lines
    return (*(line for line in lines if line[0] not in extra), *extra.items())


def key_lines(header: str, key: str | None) -> dict[str, str]:
    """The header with `key`; empty without a key."""
    if key is None:
        return {}
    return {header: f"Bearer {key}" if header == "authorization" else key}
