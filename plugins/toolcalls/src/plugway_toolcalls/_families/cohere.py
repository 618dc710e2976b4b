"""Cohere: a JSON list of actions between markers (Command R7B, Command A) or in a fence (R+).

Sources: chat templates of Command R7B, Command R+ and the mixture-of-experts models after them.
"""

from __future__ import annotations

from plugway_toolcalls._families._base import CallFormat, Family, Sample, Shape
from plugway_toolcalls._families.hermes import HERMES_CALL

_SHAPE = Shape(
    before='[\n    {"tool_call_id": "0", "tool_name": "',
    between='", "parameters": ',
    after="}\n]<|END_ACTION|>",
)
ACTION_CALL = CallFormat(
    kind="object", opening="<|START_ACTION|>", closing="<|END_ACTION|>", shape=_SHAPE
)
_READ = ("call", "Read", '{"file_path": "/a.txt"}')
_BASH = ("call", "Bash", '{"command": "ls"}')
_READ_JSON = '{"tool_call_id": "0", "tool_name": "Read", "parameters": {"file_path": "/a.txt"}}'
_BASH_JSON = '{"tool_call_id": "1", "tool_name": "Bash", "parameters": {"command": "ls"}}'
_ONE = f"<|START_ACTION|>[\n    {_READ_JSON}\n]<|END_ACTION|>"
_FLY = '<|START_ACTION|>[{"tool_name": "Fly", "parameters": {}}]<|END_ACTION|>'
_FENCED = (
    '```json\n[\n    {\n        "tool_name": "Read",\n        "parameters": {\n'
    '            "file_path": "/a.txt"\n        }\n    }\n]```'
)

COHERE = Family(
    name="cohere",
    detect=(("<|START_ACTION|>",),),
    calls=(ACTION_CALL, HERMES_CALL),
    reasoning=(("<|START_THINKING|>", "<|END_THINKING|>"),),
    noise=("<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>", "<|END_TEXT|>"),
    stops=("<|END_OF_TURN_TOKEN|>",),
    samples=(
        Sample(_ONE, (_READ,)),
        Sample(
            f"<|START_ACTION|>[\n    {_READ_JSON},\n    {_BASH_JSON}\n]<|END_ACTION|>"
            "<|END_OF_TURN_TOKEN|>",
            (_READ, _BASH),
        ),
        Sample(f"<|START_THINKING|>Hm.<|END_THINKING|>{_ONE}", (("thinking", "Hm."), _READ)),
        Sample(f"Hm.<|END_THINKING|>{_ONE}", (("thinking", "Hm."), _READ), thinking=True),
        Sample("<|START_RESPONSE|>Hi.<|END_RESPONSE|>", (("text", "Hi."),)),
        Sample("<|START_TEXT|>Hi.<|END_TEXT|><|END_OF_TURN_TOKEN|>", (("text", "Hi."),)),
        Sample(_FLY, (("error", _FLY),)),
    ),
)
COMMAND_R = Family(
    name="command-r",
    detect=(("Action:\\n```json", "tool_name"), ("'Action:'", "tool_name")),
    calls=(
        CallFormat(
            kind="object",
            opening="Action:\n```json\n",
            closing="```",
            shape=Shape(
                before='[\n    {\n        "tool_name": "',
                between='",\n        "parameters": ',
                after="\n    }\n]```",
            ),
        ),
        CallFormat(kind="object", opening="Action: ```json\n", closing="```"),
        CallFormat(kind="object", opening="```json\n", closing="```"),
        HERMES_CALL,
    ),
    stops=("<|END_OF_TURN_TOKEN|>",),
    separator="\n",
    samples=(
        Sample(f"Action:\n{_FENCED}\n", (_READ,)),
        Sample(f"I look.\nAction: {_FENCED}", (("text", "I look."), _READ)),
        Sample(_FENCED, (_READ,)),
        Sample("Hello.<|END_OF_TURN_TOKEN|>", (("text", "Hello."),)),
        Sample("Action: none.", (("text", "Action: none."),)),
        Sample(
            'Action:\n```json\n[{"tool_name": "Fly", "parameters": {}}]```',
            (("error", 'Action:\n```json\n[{"tool_name": "Fly", "parameters": {}}]```'),),
        ),
    ),
)
