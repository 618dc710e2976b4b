"""Requests of Messages clients that use what other APIs handle differently."""

from __future__ import annotations

from typing import Any

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
HI = {"role": "user", "content": "hi"}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}


def asking(**more: Any) -> dict[str, Any]:
    """A small request with more fields."""
    return {"model": "X", "max_tokens": 4096, "messages": [HI], **more}


def tool(name: str = "Read", **schema: Any) -> dict[str, Any]:
    return {"name": name, "description": "d", "input_schema": {"type": "object", **schema}}


PATH = {"properties": {"path": {"type": "string"}}, "required": ["path"]}
TOOL = tool(**PATH)


def use(call: str = "toolu_1", name: str = "Read") -> dict[str, Any]:
    return {"type": "tool_use", "id": call, "name": name, "input": {"path": "a"}}


def result(call: str = "toolu_1", content: Any = "ok", **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": call, "content": content, **more}


def said(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def given(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


MESSAGES: dict[str, dict[str, Any]] = {
    "plain": asking(),
    "parallel": asking(
        tools=[TOOL],
        messages=[
            HI,
            said(text("a"), use("toolu_1"), use("toolu_2")),
            given(result("toolu_2"), result("toolu_1"), text("go")),
        ],
    ),
    "image result": asking(
        tools=[TOOL], messages=[HI, said(use()), given(result(content=[text("a"), IMAGE]))]
    ),
    "two image results": asking(
        tools=[TOOL],
        messages=[
            HI,
            said(use(), use("b")),
            given(result(content=[IMAGE]), result("b", content=[IMAGE]), text("go")),
        ],
    ),
    "error": asking(
        tools=[TOOL], messages=[HI, said(use()), given(result(content="bad", is_error=True))]
    ),
    "empty result": asking(
        tools=[TOOL],
        messages=[HI, said(use()), given({"type": "tool_result", "tool_use_id": "toolu_1"})],
    ),
    "empty list result": asking(
        tools=[TOOL], messages=[HI, said(use()), given(result(content=[]))]
    ),
    "empty text result": asking(
        tools=[TOOL], messages=[HI, said(use()), given(result(content=""))]
    ),
    "blank assistant": asking(messages=[HI, said(text("\n")), given(text("go"))]),
    "empty assistant": asking(messages=[HI, said(), given(text("go"))]),
    "blank user": asking(messages=[given(text(" "), text("hi"))]),
    "thinking only": asking(
        messages=[
            HI,
            said({"type": "thinking", "thinking": "x", "signature": "c2ln"}),
            given(text("go")),
        ]
    ),
    "foreign thinking": asking(
        tools=[TOOL],
        messages=[
            HI,
            said({"type": "thinking", "thinking": "x", "signature": "c2ln"}, use()),
            given(result()),
        ],
        thinking={"type": "enabled", "budget_tokens": 2048},
    ),
    "redacted": asking(
        messages=[
            HI,
            said({"type": "redacted_thinking", "data": "eA=="}, text("a")),
            given(text("go")),
        ]
    ),
    "dup ids": asking(
        tools=[TOOL], messages=[HI, said(use()), given(result()), said(use()), given(result())]
    ),
    "text before result": asking(
        tools=[TOOL], messages=[HI, said(use()), given(text("x"), result())]
    ),
    "results in two turns": asking(
        tools=[TOOL], messages=[HI, said(use(), use("b")), given(result()), given(result("b"))]
    ),
    "text after call": asking(
        tools=[TOOL], messages=[HI, said(use(), text("and so")), given(result())]
    ),
    "late system": asking(
        messages=[HI, said(text("a")), {"role": "system", "content": "s"}, given(text("b"))]
    ),
    "system between": asking(
        tools=[TOOL],
        messages=[HI, said(use()), {"role": "system", "content": "s"}, given(result())],
    ),
    "system end": asking(messages=[HI, {"role": "system", "content": "s"}]),
    "prefill": asking(messages=[HI, said(text("So "))]),
    "assistant first": asking(messages=[said(text("a")), given(text("b"))]),
    "assistant call first": asking(tools=[TOOL], messages=[said(use()), given(result())]),
    "two assistants": asking(
        tools=[TOOL], messages=[HI, said(use()), said(use("b")), given(result(), result("b"))]
    ),
    "call turn after call turn": asking(
        tools=[TOOL],
        messages=[
            HI,
            said(use()),
            given(result()),
            said(use("b")),
            given(result("b")),
            said(use("c")),
            given(result("c"), text("x")),
            said(text("done")),
            given(text("again")),
        ],
    ),
    "no tools but calls": asking(messages=[HI, said(use()), given(result())]),
    "unknown tool in history": asking(
        tools=[TOOL], messages=[HI, said(use(name="mcp__" + "x" * 90)), given(result())]
    ),
    "long id": asking(tools=[TOOL], messages=[HI, said(use("t" * 100)), given(result("t" * 100))]),
    "id 50": asking(tools=[TOOL], messages=[HI, said(use("t" * 50)), given(result("t" * 50))]),
    "long names": asking(
        tools=[tool("mcp__" + "a" * 100, **PATH), tool("mcp__" + "a" * 101, **PATH)]
    ),
    "dup tools": asking(tools=[TOOL, TOOL]),
    "200 tools": asking(tools=[tool(f"t{n}", **PATH) for n in range(200)]),
    "server tools": asking(tools=[{"type": "web_search_20250305", "name": "web_search"}, TOOL]),
    "only server tools": asking(tools=[{"type": "web_search_20250305", "name": "web_search"}]),
    "only server, forced": asking(
        tools=[{"type": "web_search_20250305", "name": "web_search"}],
        tool_choice={"type": "tool", "name": "web_search"},
    ),
    "client typed": asking(
        tools=[
            {"type": "bash_20250124", "name": "bash"},
            {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"},
            {"type": "memory_20250818", "name": "memory"},
        ]
    ),
    "placeholder": asking(
        tools=[
            TOOL,
            {
                "name": "DeferredToolPlaceholder",
                "description": "x",
                "input_schema": {"type": "object", "properties": {}},
                "defer_loading": True,
            },
        ]
    ),
    "any": asking(tools=[TOOL], tool_choice={"type": "any"}),
    "named": asking(
        tools=[TOOL],
        tool_choice={"type": "tool", "name": "Read", "disable_parallel_tool_use": True},
    ),
    "named absent": asking(tools=[TOOL], tool_choice={"type": "tool", "name": "No"}),
    "none": asking(tools=[TOOL], tool_choice={"type": "none"}),
    "any thinking": asking(
        tools=[TOOL], tool_choice={"type": "any"}, thinking={"type": "adaptive"}
    ),
    "adaptive": asking(
        tools=[TOOL], thinking={"type": "adaptive"}, output_config={"effort": "high"}
    ),
    "adaptive max": asking(
        tools=[TOOL], thinking={"type": "adaptive"}, output_config={"effort": "max"}
    ),
    "enabled": asking(tools=[TOOL], thinking={"type": "enabled", "budget_tokens": 1024}),
    "enabled big": asking(
        tools=[TOOL], max_tokens=60000, thinking={"type": "enabled", "budget_tokens": 50000}
    ),
    "disabled": asking(tools=[TOOL], thinking={"type": "disabled"}),
    "disabled max": asking(
        tools=[TOOL], thinking={"type": "disabled"}, output_config={"effort": "max"}
    ),
    "effort only": asking(tools=[TOOL], output_config={"effort": "xhigh"}),
    "sampling": asking(temperature=0.3, top_p=0.5, top_k=10),
    "temperature": asking(temperature=0.0),
    "stops": asking(stop_sequences=["a", "b", "c", "d", "e", "f"]),
    "blank stop": asking(stop_sequences=["\n", "x"]),
    "max 1": asking(max_tokens=1),
    "format": asking(
        output_config={
            "format": {
                "type": "json_schema",
                "schema": {
                    "type": "object",
                    "properties": {"a": {"type": "string"}},
                    "required": ["a"],
                    "additionalProperties": False,
                },
            }
        }
    ),
    "strict closed tool": asking(
        tools=[{**tool(**PATH, additionalProperties=False), "strict": True}]
    ),
    "user": asking(metadata={"user_id": "u" * 200}),
    "images": asking(
        messages=[
            given(
                IMAGE,
                {"type": "image", "source": {"type": "url", "url": "https://e.com/a.png"}},
                text("x"),
            )
        ]
    ),
    "document": asking(
        messages=[
            given(
                {
                    "type": "document",
                    "source": {
                        "type": "base64",
                        "media_type": "application/pdf",
                        "data": "JVBERi0=",
                    },
                },
                {
                    "type": "document",
                    "source": {"type": "text", "media_type": "text/plain", "data": "abc"},
                    "title": "t",
                },
                text("x"),
            )
        ]
    ),
    "only image": asking(messages=[given(IMAGE)]),
    "cache": asking(
        system=[{**text("s"), "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        tools=[{**TOOL, "cache_control": {"type": "ephemeral"}}],
    ),
    "empty system": asking(system=[text("")]),
    "empty system text": asking(system=""),
    "empty tools": asking(tools=[], tool_choice={"type": "auto"}),
    "server blocks": asking(
        messages=[
            HI,
            said(
                {
                    "type": "server_tool_use",
                    "id": "srvtoolu_1",
                    "name": "web_search",
                    "input": {"query": "x"},
                },
                {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
                text("so"),
            ),
            given(text("go")),
        ]
    ),
    "tool reference": asking(
        tools=[TOOL],
        messages=[
            HI,
            said(use()),
            given(result(content=[{"type": "tool_reference", "tool_name": "Read"}])),
        ],
    ),
}
