"""GigaChat 3: one JSON object, after `<|function_call|>` (3.1) or under a role of its own (3).

Sources: chat templates of GigaChat 3 and 3.1 10B A1.8B.
"""

from __future__ import annotations

from plugway_toolcalls._families._base import CallFormat, Family, Sample, Shape
from plugway_toolcalls._families.hermes import HERMES_CALL

_SHAPE = Shape(before='{"name": "', between='", "arguments": ', after="}")
_ROLE = "<|message_sep|>\n\nfunction call<|role_sep|>\n"
_ROLE_CALL = CallFormat(kind="object", opening=_ROLE, shape=_SHAPE)
_BARE_ROLE_CALL = CallFormat(kind="object", opening="function call<|role_sep|>\n")
_MARKED_CALL = CallFormat(kind="object", opening="<|function_call|>", shape=_SHAPE)
_READ = ("call", "Read", '{"file_path": "/a.txt"}')
_READ_JSON = '{"name": "Read", "arguments": {"file_path": "/a.txt"}}'
_FLY = '{"name": "Fly", "arguments": {}}'

GIGACHAT31 = Family(
    name="gigachat3.1",
    detect=(("<|function_call|>", "<|role_sep|>"),),
    calls=(_MARKED_CALL, _ROLE_CALL, _BARE_ROLE_CALL, HERMES_CALL),
    noise=("<|message_sep|>",),
    stops=("</s>",),
    samples=(
        Sample(f"<|function_call|>{_READ_JSON}<|message_sep|>\n\n", (_READ,)),
        Sample(f"Look.<|function_call|>{_READ_JSON}", (("text", "Look."), _READ)),
        Sample(f"<|function_call|>{_READ_JSON}<|function_call|>{_READ_JSON}", (_READ, _READ)),
        Sample(f"{_ROLE}{_READ_JSON}<|message_sep|>", (_READ,)),
        Sample("Hello.<|message_sep|>\n\n", (("text", "Hello."),)),
        Sample(f"<|function_call|>{_FLY}", (("error", f"<|function_call|>{_FLY}"),)),
    ),
)
GIGACHAT3 = Family(
    name="gigachat3",
    detect=(("<|role_sep|>", "<|message_sep|>"),),
    calls=(_ROLE_CALL, _BARE_ROLE_CALL, _MARKED_CALL, HERMES_CALL),
    noise=("<|message_sep|>",),
    stops=("</s>",),
    samples=(
        Sample(f"{_ROLE}{_READ_JSON}<|message_sep|>\n\n", (_READ,)),
        Sample(f"Look.{_ROLE}{_READ_JSON}<|message_sep|>", (("text", "Look."), _READ)),
        Sample(f"function call<|role_sep|>\n{_READ_JSON}", (_READ,)),
        Sample(f"<|function_call|>{_READ_JSON}", (_READ,)),
        Sample("Hello.<|message_sep|>\n\n", (("text", "Hello."),)),
        Sample(f"{_ROLE}{_FLY}", (("error", f"{_ROLE}{_FLY}"),)),
    ),
)
