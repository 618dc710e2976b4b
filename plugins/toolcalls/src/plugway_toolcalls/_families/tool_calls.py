"""Apriel and MiniMax M1: JSON between `<tool_calls>` tags, as a list or one object per line.

Sources: chat templates of Apriel 1.5 and 1.6 15B Thinker and of MiniMax M1.
"""

from __future__ import annotations

from plugway_toolcalls._families._base import CallFormat, Family, Sample, Shape
from plugway_toolcalls._families.hermes import HERMES_CALL

_OPEN, _CLOSE = "<tool_calls>", "</tool_calls>"
_READ = ("call", "Read", '{"file_path": "/a.txt"}')
_BASH = ("call", "Bash", '{"command": "ls"}')
_READ_JSON = '{"name": "Read", "arguments": {"file_path": "/a.txt"}}'
_BASH_JSON = '{"name": "Bash", "arguments": {"command": "ls"}}'
_FLY = f'{_OPEN}[{{"name": "Fly", "arguments": {{}}}}]{_CLOSE}'
_FINAL = "[BEGIN FINAL RESPONSE]"

APRIEL = Family(
    name="apriel",
    detect=((_OPEN, _FINAL),),
    calls=(
        CallFormat(
            kind="object",
            opening=_OPEN,
            closing=_CLOSE,
            shape=Shape(before='[{"name": "', between='", "arguments": ', after=f"}}]{_CLOSE}"),
        ),
        HERMES_CALL,
    ),
    reasoning=(("Here are my reasoning steps:", _FINAL), ("<thinking>", "</thinking>")),
    noise=("[END FINAL RESPONSE]",),
    stops=("<|end|>",),
    separator="\n",
    samples=(
        Sample(f"\n{_OPEN}[{_READ_JSON}]{_CLOSE}\n<|end|>", (_READ,)),
        Sample(
            f"Look.\n{_OPEN}[{_READ_JSON}, {_BASH_JSON}]{_CLOSE}", (("text", "Look."), _READ, _BASH)
        ),
        Sample(
            f"Hm.\n{_FINAL}\nHi.\n[END FINAL RESPONSE]\n<|end|>",
            (("thinking", "Hm."), ("text", "Hi.")),
            thinking=True,
        ),
        Sample(
            f"<thinking>Hm.</thinking>\n{_OPEN}[{_READ_JSON}]{_CLOSE}", (("thinking", "Hm."), _READ)
        ),
        Sample(f'{_OPEN}[{_READ_JSON[:-1]}, "id": "0"}}]{_CLOSE}', (_READ,)),
        Sample(_FLY, (("error", _FLY),)),
    ),
)
MINIMAX_M1 = Family(
    name="minimax-m1",
    detect=((_OPEN, "<beginning_of_sentence>"), (_OPEN,)),
    calls=(
        CallFormat(
            kind="object",
            opening=_OPEN,
            closing=_CLOSE,
            shape=Shape(before='\n{"name": "', between='", "arguments": ', after=f"}}\n{_CLOSE}"),
        ),
        HERMES_CALL,
    ),
    stops=("<end_of_sentence>",),
    separator="\n",
    samples=(
        Sample(f"{_OPEN}\n{_READ_JSON}\n{_CLOSE}<end_of_sentence>", (_READ,)),
        Sample(f"{_OPEN}\n{_READ_JSON}\n{_BASH_JSON}\n{_CLOSE}", (_READ, _BASH)),
        Sample(
            f"<think>Hm.</think>\n{_OPEN}\n{_READ_JSON}\n{_CLOSE}", (("thinking", "Hm."), _READ)
        ),
        Sample(f"{_OPEN}[{_READ_JSON}]{_CLOSE}", (_READ,)),
        Sample("Hello.<end_of_sentence>", (("text", "Hello."),)),
        Sample(_FLY, (("error", _FLY),)),
    ),
)
