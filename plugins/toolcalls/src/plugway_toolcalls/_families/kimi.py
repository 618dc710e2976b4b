"""Kimi K2: `functions.NAME:INDEX`, then JSON, between call markers.

Sources: chat templates of Kimi K2 Instruct and K2 Thinking; Moonshot's page on tool calls.
"""

from __future__ import annotations

from plugway_toolcalls._families._base import CallFormat, Family, Sample, Shape

_ALL, _ALL_END = "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"
_BEGIN, _ARGUMENTS, _END = (
    "<|tool_call_begin|>",
    "<|tool_call_argument_begin|>",
    "<|tool_call_end|>",
)
_CALL = CallFormat(
    kind="arguments",
    opening=_BEGIN,
    closing=_END,
    head=r"\s*(?:functions\.)?(?P<name>[^\s:<]+)(?::\d+)?\s*(?:<\|tool_call_argument_begin\|>)?\s*",
    shape=Shape(before="functions.", between=f":0{_ARGUMENTS}", after=_END),
)
_READ = ("call", "Read", '{"file_path": "/a.txt"}')
_ONE = f'{_BEGIN}functions.Read:0{_ARGUMENTS}{{"file_path": "/a.txt"}}{_END}'

KIMI = Family(
    name="kimi",
    detect=((_BEGIN,), ("<|im_middle|>",)),
    calls=(_CALL,),
    reasoning=(("<think>", "</think>"), ("◁think▷", "◁/think▷")),
    noise=(_ALL, _ALL_END),
    stops=("<|im_end|>", "[EOS]"),
    section=(_ALL, _ALL_END),
    call_id="indexed",
    samples=(
        Sample(f"{_ALL}{_ONE}{_ALL_END}", (_READ,)),
        Sample(
            f"I look.{_ALL}{_ONE}{_BEGIN}functions.Bash:1{_ARGUMENTS}"
            f'{{"command": "ls"}}{_END}{_ALL_END}<|im_end|>',
            (("text", "I look."), _READ, ("call", "Bash", '{"command": "ls"}')),
        ),
        Sample(f"<think>Hm.</think>{_ALL}{_ONE}{_ALL_END}", (("thinking", "Hm."), _READ)),
        Sample(_ONE, (_READ,)),
        Sample(f'{_BEGIN}Read:0{_ARGUMENTS}{{"file_path": "/a.txt"}}', (_READ,)),
        Sample(
            f"{_BEGIN}functions.Ls:0{_ARGUMENTS}{_END}",
            (("error", f"{_BEGIN}functions.Ls:0{_ARGUMENTS}{_END}"),),
        ),
        Sample(f"{_BEGIN}functions.Bash:0{_ARGUMENTS}{_END}", (("call", "Bash", "{}"),)),
    ),
)
