"""Muse Glimmer: headers name the recipient, a call is `<atem:invoke>` with a tag per argument.

Source: chat template of Muse Glimmer.
"""

from __future__ import annotations

from plugway_toolcalls._families._base import CallFormat, Family, Header, Sample, Shape
from plugway_toolcalls._families.hermes import HERMES_CALL

_ALL, _ALL_END = "<atem:function_calls>", "</atem:function_calls>"
_CALL = CallFormat(
    kind="tags",
    opening='<atem:invoke name="',
    closing="</atem:invoke>",
    head=r'(?P<name>[^"\n]+)"\s*>',
    outers=(_ALL_END,),
    key=r'<atem:parameter name="(?P<key>[^"\n]+)"\s*>',
    parameter_end="</atem:parameter>",
    shape=Shape(
        before="",
        between='">\n',
        after="</atem:invoke>",
        key='<atem:parameter name="{key}">',
        value_end="</atem:parameter>\n",
    ),
)
_READ = ("call", "Read", '{"file_path": "/a.txt"}')
_BASH = ("call", "Bash", '{"command": "ls", "timeout": 5}')
_ONE = (
    f'{_ALL}\n<atem:invoke name="Read">\n<atem:parameter name="file_path">/a.txt</atem:parameter>\n'
    f"</atem:invoke>\n{_ALL_END}"
)
_TWO = (
    f'{_ALL}\n<atem:invoke name="Bash">\n<atem:parameter name="command">ls</atem:parameter>\n'
    f'<atem:parameter name="timeout">5</atem:parameter>\n</atem:invoke>\n{_ALL_END}'
)
_FLY = '<atem:invoke name="Fly">\n</atem:invoke>'

MUSE = Family(
    name="muse",
    detect=(("<atem:invoke",),),
    calls=(_CALL, HERMES_CALL),
    reasoning=(),
    noise=(_ALL, _ALL_END),
    stops=("<|eot|>", "<|eom|>"),
    section=(f"{_ALL}\n", f"\n{_ALL_END}"),
    separator="\n",
    header=Header(
        openings=("<|start|>",),
        end="<|message|>",
        call=r"(?!)(?P<name>)",
        thinking=r"\bto=self\b",
        closing="<|eom|>",
        begins=("to=", "<|message|>"),
    ),
    samples=(
        Sample(f" to=Read<|message|>{_ONE}<|eot|>", (_READ,)),
        Sample(
            f" to=self<|message|>Hm.<|eom|><|start|>assistant to=Read<|message|>{_ONE}<|eom|>"
            f"<|start|>assistant to=Bash<|message|>{_TWO}<|eot|>",
            (("thinking", "Hm."), _READ, _BASH),
        ),
        Sample(
            " to=self<|message|>Hm.<|eom|><|start|>assistant to=user<|message|>Hi.<|eot|>",
            (("thinking", "Hm."), ("text", "Hi.")),
        ),
        Sample("<|message|>Hi.<|eot|>", (("text", "Hi."),)),
        Sample(_ONE, (_READ,)),
        Sample("to=be or not", (("text", "to=be or not"),)),
        Sample(_FLY, (("error", _FLY),)),
    ),
)
