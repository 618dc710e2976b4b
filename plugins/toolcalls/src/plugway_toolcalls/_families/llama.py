"""Llama 3.x: a bare JSON object with `name` and `parameters`, or one after `<|python_tag|>`.

Sources: chat templates of Llama 3.1 to 3.3 Instruct, Meta's page on prompt formats.
"""

from __future__ import annotations

from plugway_toolcalls._families._base import CallFormat, Family, Sample, Shape

_SHAPE = Shape(before='{"name": "', between='", "parameters": ', after="}")
_READ = ("call", "Read", '{"file_path": "/a.txt"}')
_READ_JSON = '{"name": "Read", "parameters": {"file_path": "/a.txt"}}'
_BASH_JSON = '{"name": "Bash", "parameters": {"command": "ls"}}'

LLAMA = Family(
    name="llama",
    detect=(("<|start_header_id|>", "<|eot_id|>"), ("<|header_start|>", "<|eot|>")),
    calls=(
        CallFormat(kind="object", shape=_SHAPE),
        CallFormat(kind="object", opening="<|python_tag|>", shape=_SHAPE),
        CallFormat(
            kind="arguments",
            opening="<function=",
            closing="</function>",
            head=r"(?P<name>[^>\s{]+)>\s*",
        ),
    ),
    reasoning=(("<think>", "</think>"),),
    stops=("<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|eot|>"),
    separator="; ",
    samples=(
        Sample(_READ_JSON, (_READ,)),
        Sample(f"<|python_tag|>{_READ_JSON}", (_READ,)),
        Sample(
            f"{_READ_JSON}; {_BASH_JSON}<|eot_id|>", (_READ, ("call", "Bash", '{"command": "ls"}'))
        ),
        Sample('<function=Read>{"file_path": "/a.txt"}</function>', (_READ,)),
        Sample('{"type": "function", "function": ' + _READ_JSON + "}", (_READ,)),
        Sample(f"[{_READ_JSON}]", (_READ,)),
        Sample('{"name": "Bob", "age": 3}', (("text", '{"name": "Bob", "age": 3}'),)),
        Sample('{"key": [1, 2]}', (("text", '{"key": [1, 2]}'),)),
        Sample(
            f"To read, write {_READ_JSON}.",
            (("text", f"To read, write {_READ_JSON}."),),
        ),
        Sample(f"{_READ_JSON}\nDone.", (_READ, ("text", "Done."))),
        Sample(
            '{"name": "Read", "parameters": {"file',
            (("text", '{"name": "Read", "parameters": {"file'),),
        ),
    ),
)
