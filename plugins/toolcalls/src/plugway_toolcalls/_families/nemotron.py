"""Nemotron Nano v2: a JSON list of calls between `<TOOLCALL>` tags.

Source: chat template of NVIDIA Nemotron Nano v2. Nemotron 3 uses the format of Qwen3-Coder.
"""

from __future__ import annotations

from plugway_toolcalls._families._base import CallFormat, Family, Sample, Shape
from plugway_toolcalls._families.hermes import HERMES_CALL

_READ = ("call", "Read", '{"file_path": "/a.txt"}')
_BASH = ("call", "Bash", '{"command": "ls"}')
_READ_JSON = '{"name": "Read", "arguments": {"file_path": "/a.txt"}}'
_BASH_JSON = '{"name": "Bash", "arguments": {"command": "ls"}}'

NEMOTRON = Family(
    name="nemotron",
    detect=(("<TOOLCALL>",),),
    calls=(
        CallFormat(
            kind="object",
            opening="<TOOLCALL>",
            closing="</TOOLCALL>",
            shape=Shape(before='[{"name": "', between='", "arguments": ', after="}]</TOOLCALL>"),
        ),
        HERMES_CALL,
    ),
    stops=("<SPECIAL_12>",),
    separator="\n",
    samples=(
        Sample(f"<TOOLCALL>[{_READ_JSON}]</TOOLCALL>", (_READ,)),
        Sample(
            f"Look.\n<TOOLCALL>[{_READ_JSON}, {_BASH_JSON}]</TOOLCALL>",
            (("text", "Look."), _READ, _BASH),
        ),
        Sample(
            f"<think>\nHm.\n</think>\n\n<TOOLCALL>[{_READ_JSON}]</TOOLCALL>",
            (("thinking", "Hm."), _READ),
        ),
        Sample("Hm.\n</think>\n\nHi.", (("thinking", "Hm."), ("text", "Hi.")), thinking=True),
        Sample(f"<TOOLCALL>{_READ_JSON}</TOOLCALL>", (_READ,)),
        Sample(
            '<TOOLCALL>[{"name": "Fly", "arguments": {}}]</TOOLCALL>',
            (("error", '<TOOLCALL>[{"name": "Fly", "arguments": {}}]</TOOLCALL>'),),
        ),
    ),
)
