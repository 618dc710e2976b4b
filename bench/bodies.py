"""Request bodies that are the same in every run: a small chat, and an agent's first request.

The order for the upstream is in the last user message, so that it arrives whatever a gateway does
to headers, to the path or to the order of keys.
"""

from __future__ import annotations

import json
import random
from typing import Any

BIG_BYTES = 115_000
_PLACE = "/home/ada/shop"
# What a session of Claude Code 2.1.332 in auto mode adds to each request.
SAFEGUARDS: list[dict[str, Any]] = [
    {
        "type": "dangerous_tool_use",
        "classifier_context": {
            "v": 1,
            "permission_mode": "auto",
            "platform": "linux",
            "live_cwd": _PLACE,
            "home_dir": "/home/ada",
            "rule_roots": {
                source: "/home/ada/.claude" if source == "userSettings" else _PLACE
                for source in (
                    *("userSettings", "projectSettings", "localSettings", "flagSettings"),
                    *("policySettings", "cliArg", "command", "session", "toolsNarrowing"),
                    *("mcpServerPolicy", "hostCredential"),
                )
            },
            "trusted_directories": {
                "primary": {"path": _PLACE, "resolved": [_PLACE]},
                "additional": [],
                "network": [],
                "block_reads_outside_working_directories": False,
            },
            "rules": {"allow": ["Bash(npm test)"], "deny": [], "ask": []},
            "auto_mode": {"allow": [], "soft_deny": [], "hard_deny": [], "environment": []},
            "case_insensitive_paths": False,
            "restricted": False,
            "is_remote_mode": False,
            "classify_all_shell": False,
            "user_identity": None,
            "git_state": {"cwd": _PLACE, "root": _PLACE, "branch": "main", "status": "clean"},
            "classifier_facts": {"bashPrescreenRetry": "true"},
            "refused_calls": [],
        },
    }
]
SESSION = b"00000000-0000-4000-8000-000000000000"
_TEXT = """file path edit read write search line text match result command shell output error
branch commit test function class module value string number option user agent task plan step
change review directory pattern content replace exact before after must never always"""
_WORDS = _TEXT.split()


def marker(**orders: int) -> str:
    """The order for the upstream.

    `e` events, `r` of them per second, `b` per write, `c=1` in one chunk; `i` is the number to
    query `/bench/state` for, `s=1` sends nothing.
    """
    return "bench:" + ";".join(f"{name}={value}" for name, value in orders.items()) + ";"


def small(order: str, *, stream: bool) -> bytes:
    """A chat request of about 200 bytes."""
    return _encode({"model": "bench", "max_tokens": 1024, "stream": stream}, order)


def big(order: str, *, stream: bool) -> bytes:
    """115 KB with 24 tools, three system blocks and the context of auto mode."""
    source = random.Random(115)
    fields: dict[str, Any] = {
        "model": "bench",
        "max_tokens": 32000,
        "stream": stream,
        "thinking": {"type": "adaptive"},
        "metadata": {"user_id": "bench"},
        "system": [
            {"type": "text", "text": _prose(source, size), "cache_control": {"type": "ephemeral"}}
            for size in (60, 2_000, 16_000)
        ],
        "tools": [_tool(source, number) for number in range(24)],
        "safeguards": SAFEGUARDS,
    }
    missing = BIG_BYTES - len(_encode(fields, order))
    fields["system"][2]["text"] += "." * missing
    return _encode(fields, order)


def request(body: bytes, token: str, port: int) -> bytes:
    """A complete HTTP request with the headers that an agent client sends."""
    lines = [
        "POST /v1/messages?beta=true HTTP/1.1",
        f"host: 127.0.0.1:{port}",
        "user-agent: bench",
        "accept: application/json",
        "content-type: application/json",
        "anthropic-version: 2023-06-01",
        "anthropic-beta: interleaved-thinking-2025-05-14",
        f"x-claude-code-session-id: {SESSION.decode()}",
        f"authorization: Bearer {token}",
        f"content-length: {len(body)}",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _encode(fields: dict[str, Any], order: str) -> bytes:
    # The messages come last: the upstream finds its order at the end of the body.
    messages = [{"role": "user", "content": f"Please answer. {order}"}]
    return json.dumps(fields | {"messages": messages}, separators=(",", ":")).encode()


def _tool(source: random.Random, number: int) -> dict[str, Any]:
    properties = {
        f"{source.choice(_WORDS)}_{index}": {
            "type": source.choice(["string", "integer", "boolean"]),
            "description": _prose(source, 160),
        }
        for index in range(6)
    }
    schema = {"type": "object", "properties": properties, "required": list(properties)[:2]}
    return {
        "name": f"Tool{number:02}",
        "description": _prose(source, 2_400),
        "input_schema": schema | {"additionalProperties": False},
    }


def _prose(source: random.Random, size: int) -> str:
    text = ""
    while len(text) < size:
        text += " ".join(source.choices(_WORDS, k=12)).capitalize() + ". "
    return text[:size]
