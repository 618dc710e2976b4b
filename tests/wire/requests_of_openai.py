"""Requests of OpenAI clients that use what other APIs handle differently."""

from __future__ import annotations

from typing import Any

from tests.wire.requests_of_messages import HI, PATH, PNG


def chat(**more: Any) -> dict[str, Any]:
    """A small request of Chat Completions with more fields."""
    return {"model": "X", "messages": [HI], **more}


def function(name: str = "Read", **more: Any) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {
            "name": name,
            "description": "d",
            "parameters": {"type": "object", **PATH},
            **more,
        },
    }


def calling(*ids: str, content: str | None = None) -> dict[str, Any]:
    return {
        "role": "assistant",
        "content": content,
        "tool_calls": [
            {
                "id": i,
                "type": "function",
                "function": {"name": "Read", "arguments": '{"path": "a"}'},
            }
            for i in ids
        ],
    }


def answered(call: str, content: Any = "ok") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call, "content": content}


CHAT: dict[str, dict[str, Any]] = {
    "plain": chat(),
    "sys": chat(
        messages=[{"role": "system", "content": "s"}, {"role": "developer", "content": "d"}, HI]
    ),
    "late sys": chat(messages=[HI, {"role": "system", "content": "s"}, HI]),
    "late dev in call": chat(
        tools=[function()],
        messages=[HI, calling("a"), {"role": "developer", "content": "s"}, answered("a")],
    ),
    "sys only": chat(messages=[{"role": "system", "content": "s"}]),
    "sys last": chat(
        messages=[HI, {"role": "assistant", "content": "a"}, {"role": "system", "content": "s"}]
    ),
    "blank": chat(messages=[HI, {"role": "assistant", "content": ""}, HI]),
    "blank nl": chat(
        messages=[HI, {"role": "assistant", "content": "\n"}, {"role": "user", "content": ""}]
    ),
    "null": chat(messages=[HI, {"role": "assistant", "content": None}, HI]),
    "names": chat(messages=[{"role": "user", "name": "bob", "content": "hi"}]),
    "calls": chat(
        tools=[function()], messages=[HI, calling("a", "b"), answered("b"), answered("a"), HI]
    ),
    "same ids": chat(
        tools=[function()],
        messages=[HI, calling("call_0"), answered("call_0"), calling("call_0"), answered("call_0")],
    ),
    "odd ids": chat(
        tools=[function()], messages=[HI, calling("functions.Bash:0"), answered("functions.Bash:0")]
    ),
    "text call": chat(
        tools=[function()],
        messages=[HI, calling("a", content="x"), answered("a", [{"type": "text", "text": "x"}])],
    ),
    "empty result": chat(tools=[function()], messages=[HI, calling("a"), answered("a", "")]),
    "assistant last": chat(messages=[HI, {"role": "assistant", "content": "So "}]),
    "temp": chat(temperature=1.7),
    "temp0": chat(temperature=0),
    "samp": chat(temperature=0.5, top_p=0.5),
    "topp": chat(top_p=0.9),
    "penalties": chat(presence_penalty=1, frequency_penalty=1, seed=5, logit_bias={"5": 1}),
    "user": chat(user="a" * 300),
    "email": chat(user="bob@example.com"),
    "safety": chat(safety_identifier="b" * 128),
    "meta": chat(metadata={"a": "b"}, store=True),
    "stop": chat(stop="\n"),
    "stops": chat(stop=["a", "b", "c", "d"]),
    "stops5": chat(stop=["a", "b", "c", "d", "e", "f"]),
    "max": chat(max_tokens=5),
    "maxc": chat(max_completion_tokens=5),
    "max1": chat(max_tokens=1),
    "required": chat(tools=[function()], tool_choice="required"),
    "none": chat(tools=[function()], tool_choice="none"),
    "named": chat(
        tools=[function()],
        tool_choice={"type": "function", "function": {"name": "Read"}},
        parallel_tool_calls=False,
    ),
    "pt": chat(tools=[function()], parallel_tool_calls=True),
    "required think": chat(tools=[function()], tool_choice="required", reasoning_effort="high"),
    **{
        f"effort {e}": chat(reasoning_effort=e, max_completion_tokens=20000)
        for e in ("none", "minimal", "low", "medium", "high", "xhigh", "max")
    },
    **{
        f"effort tools {e}": chat(tools=[function()], reasoning_effort=e)
        for e in ("none", "minimal", "low", "high", "xhigh")
    },
    "effort temp": chat(reasoning_effort="high", temperature=0.2),
    "effort loop": chat(
        reasoning_effort="high", tools=[function()], messages=[HI, calling("a"), answered("a")]
    ),
    "json": chat(
        response_format={"type": "json_object"}, messages=[{"role": "user", "content": "json"}]
    ),
    "json no word": chat(response_format={"type": "json_object"}),
    "no params": chat(tools=[{"type": "function", "function": {"name": "f"}}]),
    "null params": chat(
        tools=[{"type": "function", "function": {"name": "f", "parameters": None}}]
    ),
    "image": chat(
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "x"},
                    {
                        "type": "image_url",
                        "image_url": {"url": "data:image/png;base64," + PNG, "detail": "low"},
                    },
                    {"type": "image_url", "image_url": {"url": "https://e.com/a.png"}},
                ],
            }
        ]
    ),
    "file": chat(
        messages=[
            {
                "role": "user",
                "content": [
                    {
                        "type": "file",
                        "file": {
                            "filename": "a.pdf",
                            "file_data": "data:application/pdf;base64,JVBERi0=",
                        },
                    }
                ],
            }
        ]
    ),
    "empty parts": chat(messages=[{"role": "user", "content": []}, HI]),
    "empty tools": chat(tools=[]),
    "long name": chat(tools=[function("a" * 64)]),
    "129 tools": chat(tools=[function(f"t{n}") for n in range(129)]),
    "dup tools": chat(tools=[function(), function()]),
}


def respond(**more: Any) -> dict[str, Any]:
    """A small request of Responses with more fields."""
    return {"model": "X", "input": [HI], **more}


def call(known: str = "call_1") -> dict[str, Any]:
    item = {"type": "function_call", "id": f"fc_{known}", "call_id": known}
    return {**item, "name": "Read", "arguments": "{}"}


def output(known: str = "call_1", out: Any = "ok") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": known, "output": out}


FLAT = {
    "type": "function",
    "name": "Read",
    "parameters": {"type": "object", **PATH},
    "strict": False,
}
RESPONSES: dict[str, dict[str, Any]] = {
    "plain": respond(),
    "text": respond(input="hi"),
    "instructions": respond(instructions="s"),
    "calls": respond(tools=[FLAT], input=[HI, call(), call("b"), output("b"), output()]),
    "interleaved": respond(tools=[FLAT], input=[HI, call(), output(), call("b"), output("b")]),
    "reasoning": respond(
        tools=[FLAT],
        input=[
            HI,
            {
                "type": "reasoning",
                "id": "rs_1",
                "summary": [{"type": "summary_text", "text": "x"}],
                "encrypted_content": "abc",
            },
            call(),
            output(),
        ],
        reasoning={"effort": "high"},
        include=["reasoning.encrypted_content"],
        store=False,
    ),
    "reasoning last": respond(input=[HI, {"type": "reasoning", "id": "rs_1", "summary": []}, HI]),
    "dev": respond(input=[HI, {"role": "developer", "content": "d"}, HI]),
    "dev in call": respond(
        tools=[FLAT], input=[HI, call(), {"role": "developer", "content": "d"}, output()]
    ),
    "out image": respond(
        tools=[FLAT],
        input=[
            HI,
            call(),
            output(out=[{"type": "input_image", "image_url": "data:image/png;base64," + PNG}]),
        ],
    ),
    "assistant parts": respond(
        input=[HI, {"role": "assistant", "content": [{"type": "output_text", "text": "x"}]}, HI]
    ),
    "custom": respond(
        tools=[{"type": "custom", "name": "apply_patch", "format": {"type": "text"}}],
        input=[
            HI,
            {"type": "custom_tool_call", "call_id": "c", "name": "apply_patch", "input": "x"},
            {"type": "custom_tool_call_output", "call_id": "c", "output": "ok"},
        ],
    ),
    "web": respond(tools=[{"type": "web_search"}, FLAT]),
    "shell": respond(
        tools=[{"type": "local_shell"}],
        input=[
            HI,
            {
                "type": "local_shell_call",
                "id": "lsh_1",
                "call_id": "c",
                "status": "completed",
                "action": {"type": "exec", "command": ["ls"], "env": {}},
            },
            {"type": "local_shell_call_output", "id": "c", "call_id": "c", "output": "x"},
        ],
    ),
    "ns": respond(
        tools=[
            {
                "type": "namespace",
                "name": "mcp__x",
                "description": "d",
                "tools": [
                    {"type": "function", "name": "go", "parameters": {"type": "object", **PATH}}
                ],
            }
        ]
    ),
    "temp": respond(temperature=1.7),
    "max": respond(max_output_tokens=16),
    "samp": respond(temperature=0.1, top_p=0.2),
    "meta": respond(
        metadata={"a": "b"}, user="a" * 300, prompt_cache_key="k" * 60, safety_identifier="s" * 128
    ),
    "named": respond(tools=[FLAT], tool_choice={"type": "function", "name": "Read"}),
    "required": respond(tools=[FLAT], tool_choice="required", parallel_tool_calls=False),
    "allowed": respond(
        tools=[FLAT],
        tool_choice={
            "type": "allowed_tools",
            "mode": "required",
            "tools": [{"type": "function", "name": "Read"}],
        },
    ),
    "json": respond(text={"format": {"type": "json_object"}}),
    **{
        f"effort {e}": respond(reasoning={"effort": e, "summary": "auto"}, tools=[FLAT])
        for e in ("none", "minimal", "low", "medium", "high", "xhigh")
    },
    "assistant last": respond(input=[HI, {"role": "assistant", "content": "So "}]),
}
