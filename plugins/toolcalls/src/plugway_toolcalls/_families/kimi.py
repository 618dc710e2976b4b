"""Kimi: K2 writes `functions.NAME:INDEX`, then JSON; K3 opens and closes elements with markers.

Sources: chat templates of Kimi K2 Instruct, K2 Thinking and K3; Moonshot's page on tool calls.
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
    noise=(_ALL, _ALL_END, "<|tool_call_section_begin|>", "<|tool_call_section_end|>"),
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
        Sample(f"<|tool_call_section_begin|>{_ONE}<|tool_call_section_end|>", (_READ,)),
        Sample(f'{_BEGIN}Read:0{_ARGUMENTS}{{"file_path": "/a.txt"}}', (_READ,)),
        Sample(
            f"{_BEGIN}functions.Ls:0{_ARGUMENTS}{_END}",
            (("error", f"{_BEGIN}functions.Ls:0{_ARGUMENTS}{_END}"),),
        ),
        Sample(f"{_BEGIN}functions.Bash:0{_ARGUMENTS}{_END}", (("call", "Bash", "{}"),)),
    ),
)

_SEP = "<|sep|>"
_ARGUMENT = '<|open|>argument key="{key}" type="'
_K3_CALL = CallFormat(
    kind="tags",
    opening='<|open|>call tool="',
    closing=f"<|close|>call{_SEP}",
    outers=(f"<|close|>tools{_SEP}",),
    head=r'(?P<name>[^"\n]+)"[^<\n]*<\|sep\|>',
    key=r'<\|open\|>argument key="(?P<key>[^"\n]*)"(?: type="(?P<typed>\w+)")?<\|sep\|>',
    parameter_end=f"<|close|>argument{_SEP}",
    shape=Shape(
        before="",
        between=f'" index="1"{_SEP}',
        after=f"<|close|>call{_SEP}",
        key=f'{_ARGUMENT}string"{_SEP}',
        typed=f'{_ARGUMENT}{{type}}"{_SEP}',
        value_end=f"<|close|>argument{_SEP}",
    ),
)
_K3_JSON_CALL = CallFormat(
    kind="arguments",
    opening=_K3_CALL.opening,
    closing=f"<|close|>json{_SEP}",
    head=rf"{_K3_CALL.head}<\|open\|>json[^<\n]*<\|sep\|>\s*",
)
_K3_ALL, _K3_ALL_END = f"<|open|>tools{_SEP}", f"<|close|>tools{_SEP}"


def _k3(name: str, index: int, *arguments: tuple[str, str, str]) -> str:
    body = "".join(
        f'<|open|>argument key="{key}" type="{kind}"{_SEP}{value}<|close|>argument{_SEP}'
        for key, kind, value in arguments
    )
    return f'<|open|>call tool="{name}" index="{index}"{_SEP}{body}<|close|>call{_SEP}'


_K3_READ = _k3("Read", 1, ("file_path", "string", "/a.txt"))
_K3_BASH = _k3("Bash", 2, ("command", "string", "ls"), ("timeout", "number", "5"))
_SAY, _SAID = f"<|open|>response{_SEP}", f"<|close|>response{_SEP}"
_THOUGHT = f"<|close|>think{_SEP}"

KIMI_K3 = Family(
    name="kimi-k3",
    detect=(("<|open|>", _SEP),),
    calls=(_K3_JSON_CALL, _K3_CALL, _CALL),
    reasoning=((f"<|open|>think{_SEP}", _THOUGHT), ("<think>", "</think>")),
    noise=(
        _SAY,
        _SAID,
        _K3_ALL,
        _K3_ALL_END,
        *(f"<|close|>{tag}{_SEP}" for tag in ("call", "message")),
    ),
    stops=("<|end_of_msg|>",),
    section=(_K3_ALL, _K3_ALL_END),
    samples=(
        Sample(f"{_K3_ALL}{_K3_READ}{_K3_ALL_END}", (_READ,)),
        Sample(
            f"Hm.{_THOUGHT}{_SAY}Look.{_SAID}{_K3_ALL}{_K3_READ}{_K3_BASH}{_K3_ALL_END}"
            f"<|close|>message{_SEP}<|end_of_msg|>",
            (
                ("thinking", "Hm."),
                ("text", "Look."),
                _READ,
                ("call", "Bash", '{"command": "ls", "timeout": 5}'),
            ),
            thinking=True,
        ),
        Sample(
            f"{_SAY}Hi.{_SAID}<|close|>message{_SEP}<|end_of_msg|>",
            (("text", "Hi."),),
        ),
        Sample(
            _k3("Bash", 1, ("command", "string", "5"), ("timeout", "null", "null")),
            (("call", "Bash", '{"command": "5", "timeout": null}'),),
        ),
        Sample(
            f'<|open|>call tool="Read" index="1"{_SEP}<|open|>json type="object"{_SEP}'
            f'{{"file_path": "/a.txt"}}<|close|>json{_SEP}<|close|>call{_SEP}',
            (_READ,),
        ),
        Sample(
            _k3("Fly", 1),
            (("error", _k3("Fly", 1)),),
        ),
    ),
)
