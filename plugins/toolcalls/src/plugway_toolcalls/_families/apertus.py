"""Apertus: a JSON list of objects whose only member is the call, `{"NAME": {...}}`.

Source: chat template of Apertus 8B Instruct.
"""

from __future__ import annotations

from plugway_toolcalls._families._base import CallFormat, Family, Sample, Shape
from plugway_toolcalls._families.hermes import HERMES_CALL

_OPEN, _CLOSE = "<|tools_prefix|>", "<|tools_suffix|>"
_READ = ("call", "Read", '{"file_path": "/a.txt"}')
_BASH = ("call", "Bash", '{"command": "ls"}')
_READ_JSON, _BASH_JSON = '{"Read": {"file_path": "/a.txt"}}', '{"Bash": {"command": "ls"}}'

APERTUS = Family(
    name="apertus",
    detect=((_OPEN,),),
    calls=(
        CallFormat(
            kind="object",
            opening=_OPEN,
            closing=_CLOSE,
            shape=Shape(before='[{"', between='": ', after=f"}}]{_CLOSE}"),
        ),
        HERMES_CALL,
    ),
    reasoning=(("<|inner_prefix|>", "<|inner_suffix|>"), ("<think>", "</think>")),
    stops=("<|assistant_end|>",),
    samples=(
        Sample(f"{_OPEN}[{_READ_JSON}]{_CLOSE}", (_READ,)),
        Sample(
            f"Look.{_OPEN}[{_READ_JSON}, {_BASH_JSON}]{_CLOSE}<|assistant_end|>",
            (("text", "Look."), _READ, _BASH),
        ),
        Sample(
            f"<|inner_prefix|>Hm.<|inner_suffix|>{_OPEN}[{_READ_JSON}]{_CLOSE}",
            (("thinking", "Hm."), _READ),
        ),
        Sample(
            f'{_OPEN}[{{"name": "Read", "arguments": {{"file_path": "/a.txt"}}}}]{_CLOSE}',
            (_READ,),
        ),
        Sample("Hello.<|assistant_end|>", (("text", "Hello."),)),
        Sample(
            f'{_OPEN}[{{"Fly": {{}}}}]{_CLOSE}', (("error", f'{_OPEN}[{{"Fly": {{}}}}]{_CLOSE}'),)
        ),
        Sample(f'{_OPEN}[{{"Read": 5}}]{_CLOSE}', (("error", f'{_OPEN}[{{"Read": 5}}]{_CLOSE}'),)),
    ),
)
