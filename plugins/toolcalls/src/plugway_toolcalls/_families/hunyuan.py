# ruff: noqa: RUF001 -- the markers of Hunyuan are written with full-width bars
"""Hunyuan 3: the name, then pairs of `<arg_key>` and `<arg_value>`, every tag with a suffix.

Source: chat template of Tencent Hy3.
"""

from __future__ import annotations

from plugway_toolcalls._families._base import CallFormat, Family, Sample, Shape
from plugway_toolcalls._families.hermes import HERMES_CALL

_SUFFIX = ":opensource"
_OPEN, _CLOSE = f"<tool_call{_SUFFIX}>", f"</tool_call{_SUFFIX}>"
_ALL, _ALL_END = f"<tool_calls{_SUFFIX}>", f"</tool_calls{_SUFFIX}>"
_SEP = f"<tool_sep{_SUFFIX}>"
_KEY, _KEY_END = f"<arg_key{_SUFFIX}>", f"</arg_key{_SUFFIX}>"
_VALUE, _VALUE_END = f"<arg_value{_SUFFIX}>", f"</arg_value{_SUFFIX}>"
_CALL = CallFormat(
    kind="tags",
    opening=_OPEN,
    closing=_CLOSE,
    outers=(_ALL_END,),
    head=rf"\s*(?P<name>[^\s<{{]+)\s*(?:{_SEP}\s*)?(?=<arg_key|</|\{{)",
    key=rf"{_KEY}(?P<key>[^<\n]*+){_KEY_END}\s*{_VALUE}",
    parameter_end=_VALUE_END,
    shape=Shape(
        before="",
        between=f"{_SEP}\n",
        after=_CLOSE,
        key=f"{_KEY}{{key}}{_KEY_END}\n{_VALUE}",
        value_end=f"{_VALUE_END}\n",
    ),
)
_THINK, _THINK_END = f"<think{_SUFFIX}>", f"</think{_SUFFIX}>"
_READ = ("call", "Read", '{"file_path": "/a.txt"}')
_BASH = ("call", "Bash", '{"command": "ls", "timeout": 5}')
_ARGUMENT = f"{_KEY}{{}}{_KEY_END}\n{_VALUE}{{}}{_VALUE_END}\n"
_ONE = f"{_OPEN}Read{_SEP}\n{_ARGUMENT.format('file_path', '/a.txt')}{_CLOSE}\n"
_BODY = _ARGUMENT.format("command", "ls") + _ARGUMENT.format("timeout", "5")
_TWO = f"{_OPEN}Bash{_SEP}\n{_BODY}{_CLOSE}\n"
_FLY = f"{_OPEN}Fly{_SEP}\n{_CLOSE}"

HUNYUAN = Family(
    name="hunyuan",
    detect=((_OPEN,), ("<tool_call{}>", "<tool_sep{}>", _SUFFIX)),
    calls=(_CALL, HERMES_CALL),
    reasoning=((_THINK, _THINK_END), ("<think>", "</think>")),
    noise=(_ALL, _ALL_END),
    stops=(f"<｜hy_eos{_SUFFIX}｜>",),
    section=(f"{_ALL}\n", f"\n{_ALL_END}"),
    separator="\n",
    samples=(
        Sample(f"{_ALL}\n{_ONE}{_ALL_END}", (_READ,)),
        Sample(
            f"{_THINK}Hm.{_THINK_END}Look.{_ALL}\n{_ONE}{_TWO}{_ALL_END}<｜hy_eos{_SUFFIX}｜>",
            (("thinking", "Hm."), ("text", "Look."), _READ, _BASH),
        ),
        Sample(f"{_THINK}{_THINK_END}Hi.", (("text", "Hi."),)),
        Sample(f"Hm.{_THINK_END}Hi.", (("thinking", "Hm."), ("text", "Hi.")), thinking=True),
        Sample(_ONE, (_READ,)),
        Sample(_FLY, (("error", _FLY),)),
    ),
)
