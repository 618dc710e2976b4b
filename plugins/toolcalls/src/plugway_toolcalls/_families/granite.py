"""Granite 3: a JSON list of calls after `<|tool_call|>`. Granite 4 uses the format of Hermes.

Source: chat template of IBM Granite 3.3 Instruct.
"""

from __future__ import annotations

from plugway_toolcalls._families._base import CallFormat, Family, Sample, Shape
from plugway_toolcalls._families.hermes import HERMES_CALL

_READ = ("call", "Read", '{"file_path": "/a.txt"}')
_BASH = ("call", "Bash", '{"command": "ls"}')
_READ_JSON = '{"name": "Read", "arguments": {"file_path": "/a.txt"}}'
_BASH_JSON = '{"name": "Bash", "arguments": {"command": "ls"}}'

GRANITE = Family(
    name="granite",
    detect=(("<|start_of_role|>", "<|tool_call|>"),),
    calls=(
        CallFormat(
            kind="object",
            opening="<|tool_call|>",
            shape=Shape(before='[{"name": "', between='", "arguments": ', after="}]"),
        ),
        HERMES_CALL,
    ),
    noise=("<|start_of_role|>", "<|end_of_role|>"),
    stops=("<|end_of_text|>",),
    samples=(
        Sample(f"<|tool_call|>[{_READ_JSON}]", (_READ,)),
        Sample(f"<|tool_call|>[{_READ_JSON}, {_BASH_JSON}]<|end_of_text|>", (_READ, _BASH)),
        Sample(f"<|tool_call|> {_READ_JSON}", (_READ,)),
        Sample(f"Look.<|tool_call|>[{_READ_JSON}]", (("text", "Look."), _READ)),
        Sample("Hello.<|end_of_text|>", (("text", "Hello."),)),
        Sample(
            '<|tool_call|>[{"name": "Fly", "arguments": {}}]',
            (("error", '<|tool_call|>[{"name": "Fly", "arguments": {}}]'),),
        ),
    ),
)
