"""Mistral: `[TOOL_CALLS]` with a list (v3), or with a name and arguments (v11 and later).

Sources: chat templates of Mistral Nemo, Small 3.2, Devstral and Ministral 3; mistral-common.
"""

from __future__ import annotations

from plugway_toolcalls._families._base import CallFormat, Family, Sample, Shape

_V11_CALL = CallFormat(
    kind="arguments",
    opening="[TOOL_CALLS]",
    head=r"\s*(?P<name>[^\s\[{]+)\s*(?:\[CALL_ID\][^\[\s]*)?\s*(?:\[ARGS\])?\s*",
    shape=Shape(before="", between="[ARGS]", after=""),
)
_V3_CALL = CallFormat(
    kind="object",
    opening="[TOOL_CALLS]",
    shape=Shape(before='[{"name": "', between='", "arguments": ', after="}]"),
)
_READ = ("call", "Read", '{"file_path": "/a.txt"}')
_BASH = ("call", "Bash", '{"command": "ls"}')
_ARGUMENTS = '{"file_path": "/a.txt"}'
_REASONING = (("[THINK]", "[/THINK]"), ("<think>", "</think>"))
_NOISE = ("[/TOOL_CALLS]", "[CALL_ID]")
_SAMPLES = (
    Sample(f'[TOOL_CALLS][{{"name": "Read", "arguments": {_ARGUMENTS}, "id": "a1"}}]', (_READ,)),
    Sample(
        f'[TOOL_CALLS] [{{"name": "Read", "arguments": {_ARGUMENTS}}}, '
        '{"name": "Bash", "arguments": {"command": "ls"}}]',
        (_READ, _BASH),
    ),
    Sample(f"[TOOL_CALLS]Read{_ARGUMENTS}", (_READ,)),
    Sample(f"[TOOL_CALLS]Read[ARGS]{_ARGUMENTS}", (_READ,)),
    Sample(f"[TOOL_CALLS]Read[CALL_ID]abc123def[ARGS]{_ARGUMENTS}</s>", (_READ,)),
    Sample(
        f'I look.[TOOL_CALLS]Read[ARGS]{_ARGUMENTS}[TOOL_CALLS]Bash[ARGS]{{"command": "ls"}}',
        (("text", "I look."), _READ, _BASH),
    ),
    Sample("[THINK]Hm.[/THINK]Hi.", (("thinking", "Hm."), ("text", "Hi."))),
    Sample("[TOOL_CALLS]Fly[ARGS]{}", (("error", "[TOOL_CALLS]Fly[ARGS]{}"),)),
    Sample("Lists look like [1, 2] here.", (("text", "Lists look like [1, 2] here."),)),
)

MISTRAL = Family(
    name="mistral",
    detect=(("[TOOL_CALLS]", "[ARGS]"), ("[SYSTEM_PROMPT]",)),
    calls=(_V11_CALL, _V3_CALL),
    reasoning=_REASONING,
    noise=_NOISE,
    stops=("</s>",),
    samples=_SAMPLES,
)
MISTRAL_V3 = Family(
    name="mistral-v3",
    detect=(("[TOOL_CALLS]",), ("[INST]",)),
    calls=(_V3_CALL, _V11_CALL),
    reasoning=_REASONING,
    noise=_NOISE,
    stops=("</s>",),
    samples=_SAMPLES,
)
