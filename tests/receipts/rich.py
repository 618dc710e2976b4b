"""A request that has some of everything that the Messages API knows."""

from __future__ import annotations

import base64

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"a picture").decode()
SHOT = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"a screenshot").decode()
PDF = base64.b64encode(b"%PDF-1.7 a paper").decode()
CACHE = {"type": "ephemeral"}
LONG_NAME = "mcp__a_server_with_quite_a_long_name__and_a_tool_whose_name_is_longer"

SCHEMA = {
    "type": "object",
    "$defs": {"Place": {"type": "object", "properties": {"path": {"type": "string"}}}},
    "properties": {
        "place": {"$ref": "#/$defs/Place"},
        "unit": {"oneOf": [{"type": "string", "maxLength": 9}, {"type": "integer"}]},
        "both": {
            "allOf": [
                {"type": "object", "properties": {"a": {"type": "string"}}},
                {"type": "object", "properties": {"b": {"type": "string"}}},
            ]
        },
        "fixed": {"const": "x"},
        "many": {"type": ["string", "integer"]},
        "named": {"type": "object", "patternProperties": {"^x": {"type": "string"}}},
        "level": {"type": "integer", "enum": [1, 2, 3]},
        "at": {"type": "string", "format": "hostname"},
        "pair": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}]},
    },
    "required": ["place"],
    "additionalProperties": False,
}
ANSWER = {
    "type": "object",
    "properties": {"done": {"type": "boolean"}},
    "required": ["done"],
    "additionalProperties": False,
}

BETAS = (
    "claude-code-20250219,context-management-2025-06-27,extended-cache-ttl-2025-04-11,"
    "interleaved-thinking-2025-05-14,tool-examples-2025-10-29,something-new-2099-01-01"
)


def _base64(kind: str, mime: str, data: str, **more: object) -> dict[str, object]:
    return {"type": kind, "source": {"type": "base64", "media_type": mime, "data": data}, **more}


IMAGE = _base64("image", "image/png", PNG)
PAPER = _base64("document", "application/pdf", PDF, title="paper.pdf", context="of last year")
NOTE = {
    "type": "document",
    "title": "notes.txt",
    "source": {"type": "text", "media_type": "text/plain", "data": "Some notes."},
}


def text(words: str, **more: object) -> dict[str, object]:
    """A text block."""
    return {"type": "text", "text": words, **more}


TOOLS = [
    {
        "name": "Read",
        "description": "Reads.",
        "input_schema": SCHEMA,
        "cache_control": CACHE,
        "strict": True,
        "eager_input_streaming": True,
        "input_examples": [{"place": {"path": "a"}}],
    },
    {"name": LONG_NAME, "type": "custom", "input_schema": {"type": "object", "properties": {}}},
    {"name": "Later", "input_schema": ANSWER, "defer_loading": True, "allowed_callers": ["direct"]},
]
PLACEHOLDER = {
    "name": "DeferredToolPlaceholder",
    "description": "Keeps deferred loading on; never call it.",
    "input_schema": {"type": "object", "properties": {}},
    "defer_loading": True,
}

MESSAGES = [
    {
        "role": "user",
        "content": [text("Look.", cache_control=CACHE), IMAGE, PAPER, NOTE],
    },
    {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "Hm, a picture.", "signature": "c2lnbmVk"},
            text("I read both.", citations=[{"type": "char_location", "cited_text": "Some"}]),
            {
                "type": "tool_use",
                "id": "toolu_1",
                "name": "Read",
                "input": {"place": {"path": "a"}},
            },
            {"type": "tool_use", "id": "toolu_2", "name": LONG_NAME, "input": {}},
        ],
    },
    {
        "role": "user",
        "content": [
            {
                "type": "tool_result",
                "tool_use_id": "toolu_1",
                "content": [text("It shows this:"), _base64("image", "image/png", SHOT)],
            },
            {
                "type": "tool_result",
                "tool_use_id": "toolu_2",
                "content": "no such file",
                "is_error": True,
            },
            text("And then?"),
        ],
    },
    {"role": "system", "content": "Be quick from now on."},
    {"role": "user", "content": "Are you there?"},
    {"role": "assistant", "content": [text("Yes.")]},
    {
        "role": "user",
        "content": [
            {"type": "search_result", "title": "Found", "source": "s", "content": [text("hit")]},
            text("Go on.", cache_control=CACHE),
        ],
    },
]

SYSTEM = [
    text("x-anthropic-billing-header: cc_version=2; cch=1a2b3;"),
    text("You are helpful.", cache_control=CACHE),
    text("Answer in prose."),
]


_ASKED: dict[str, object] = {"role": "user", "content": "Look it up."}
BROKEN = [
    _ASKED,
    {
        "role": "assistant",
        "content": [
            {"type": "tool_use", "id": "toolu_1", "name": "Later", "input": {"done": True}},
            {"type": "tool_use", "id": "toolu_2", "name": "Later", "input": {"done": False}},
        ],
    },
    {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "toolu_1", "content": "yes"},
            {"type": "tool_result", "tool_use_id": "toolu_9", "content": "a stray"},
        ],
    },
]
"""A call without a result, and a result without a call."""
ADDRESSES = [
    {
        "role": "user",
        "content": [
            text("Compare."),
            {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
            {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
        ],
    }
]
ODD = [
    _ASKED,
    {
        "role": "assistant",
        "content": [
            {"type": "redacted_thinking", "data": "b3BhcXVl"},
            {"type": "server_tool_use", "id": "srvtoolu_1", "name": "code", "input": {"a": 1}},
            {
                "type": "code_execution_tool_result",
                "tool_use_id": "srvtoolu_1",
                "content": {"type": "code_execution_result", "stdout": "42", "return_code": 0},
            },
            text("It is 42."),
        ],
    },
    {
        "role": "user",
        "content": [{"type": "container_upload", "file_id": "file_1"}, text("Thanks.")],
    },
]
CLEARING = {
    "edits": [
        {
            "type": "clear_tool_uses_20250919",
            "trigger": {"type": "tool_uses", "value": 1},
            "keep": {"type": "tool_uses", "value": 1},
        }
    ]
}


def rich(**fields: object) -> dict[str, object]:
    """The request, with `fields` set; None takes one away."""
    body: dict[str, object] = {
        "model": "any",
        "max_tokens": 4096,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "stop_sequences": ["A1", "B2", "C3", "D4", "E5", "F6"],
        "metadata": {"user_id": "user_0a1b_session_2c3d"},
        "service_tier": "auto",
        "inference_geo": "us",
        "thinking": {"type": "enabled", "budget_tokens": 2048},
        "context_management": {
            "edits": [
                {
                    "type": "clear_tool_uses_20250919",
                    "trigger": {"type": "tool_uses", "value": 9},
                    "keep": {"type": "tool_uses", "value": 1},
                }
            ]
        },
        "output_config": {"format": {"type": "json_schema", "schema": ANSWER}},
        "a_new_field": {"of": "somebody"},
        "system": SYSTEM,
        "tools": TOOLS,
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "messages": MESSAGES,
        **fields,
    }
    return {name: value for name, value in body.items() if value is not None}
