"""Solar Open: an id, the name and one JSON object between call markers.

Source: chat template of Solar Open 100B.
"""

from __future__ import annotations

from plugway_toolcalls._families._base import CallFormat, Family, Sample, Shape
from plugway_toolcalls._families.hermes import HERMES_CALL

_BEGIN, _END = "<|tool_call:begin|>", "<|tool_call:end|>"
_NAME, _ARGUMENTS = "<|tool_call:name|>", "<|tool_call:args|>"
_CALL = CallFormat(
    kind="arguments",
    opening=_BEGIN,
    closing=_END,
    head=r"\s*(?:[^\s<]*<\|tool_call:name\|>)?(?P<name>[^\s<]+)\s*(?:<\|tool_call:args\|>)?\s*",
    shape=Shape(before=f"a1b2c3d4e5{_NAME}", between=_ARGUMENTS, after=_END),
)
_READ = ("call", "Read", '{"file_path": "/a.txt"}')
_BASH = ("call", "Bash", '{"command": "ls"}')
_ONE = f'{_BEGIN}x1{_NAME}Read{_ARGUMENTS}{{"file_path": "/a.txt"}}{_END}'
_TWO = f'{_BEGIN}x2{_NAME}Bash{_ARGUMENTS}{{"command": "ls"}}{_END}'
_FLY = f"{_BEGIN}x3{_NAME}Fly{_ARGUMENTS}{{}}{_END}"

SOLAR = Family(
    name="solar",
    detect=((_BEGIN, _NAME),),
    calls=(_CALL, HERMES_CALL),
    reasoning=(("<|think|>", "<|end|>"), ("<think>", "</think>")),
    noise=("<|begin|>assistant", "<|content|>", "<|tool_calls|>", "<|end|>"),
    stops=("<|calls|>", "<|flush|>"),
    section=("<|tool_calls|>", "<|calls|>"),
    samples=(
        Sample(f"<|tool_calls|>{_ONE}<|calls|>", (_READ,)),
        Sample(
            f"<|think|>Hm.<|end|><|begin|>assistant<|tool_calls|>{_ONE}{_TWO}<|calls|>",
            (("thinking", "Hm."), _READ, _BASH),
        ),
        Sample(
            "<|think|>Hm.<|end|><|begin|>assistant<|content|>Hi.<|end|>",
            (("thinking", "Hm."), ("text", "Hi.")),
        ),
        Sample("<|content|>Hi.<|end|>", (("text", "Hi."),)),
        Sample(f'{_BEGIN}Read{_ARGUMENTS}{{"file_path": "/a.txt"}}', (_READ,)),
        Sample(_FLY, (("error", _FLY),)),
    ),
)
