"""Llama: a bare JSON object with `name` and `parameters`, or a bare Python list of calls.

Sources: chat templates of Llama 3.1 to 3.3 Instruct, of Llama 4 (as transformers carries it) and
of Functionary v3.1 and v3.2; Meta's page on prompt formats, by which Llama 3.2 and 4 may also call
as Python does.
"""

from __future__ import annotations

from dataclasses import replace

from plugway_toolcalls._families._base import CallFormat, Family, Recipients, Sample, Shape

_SHAPE = Shape(before='{"name": "', between='", "parameters": ', after="}")
_READ = ("call", "Read", '{"file_path": "/a.txt"}')
_READ_JSON = '{"name": "Read", "parameters": {"file_path": "/a.txt"}}'
_BASH_JSON = '{"name": "Bash", "parameters": {"command": "ls"}}'

_FUNCTION_CALL = CallFormat(
    kind="arguments",
    opening="<function=",
    closing="</function>",
    head=r"(?P<name>[^>\s{]+)>\s*",
    shape=Shape(before="", between=">", after="</function>"),
)
_PYTHON_CALL = CallFormat(kind="python")
_BASH = ("call", "Bash", '{"command": "ls"}')

LLAMA = Family(
    name="llama",
    detect=(("<|start_header_id|>", "<|eot_id|>"),),
    calls=(
        CallFormat(kind="object", shape=_SHAPE),
        CallFormat(kind="object", opening="<|python_tag|>", shape=_SHAPE),
        replace(_FUNCTION_CALL, shape=None),
        _PYTHON_CALL,
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
        Sample('[Read(file_path="/a.txt"), Bash(command="ls")]', (_READ, _BASH)),
        Sample("[Read the docs](x) first", (("text", "[Read the docs](x) first"),)),
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
_START, _END = "<|python_start|>", "<|python_end|>"
LLAMA4 = Family(
    name="llama4",
    detect=(("<|header_start|>", "<|eot|>"),),
    calls=(
        CallFormat(kind="object", shape=_SHAPE),
        CallFormat(kind="python", opening=_START, closing=_END),
        CallFormat(kind="object", opening=_START, closing=_END),
        _PYTHON_CALL,
    ),
    noise=(_START, _END),
    stops=("<|eot|>", "<|eom|>", "<|end_of_text|>"),
    separator="; ",
    samples=(
        Sample(_READ_JSON, (_READ,)),
        Sample(f"{_READ_JSON}; {_BASH_JSON}<|eot|>", (_READ, _BASH)),
        Sample(f'{_START}[Read(file_path="/a.txt")]{_END}<|eom|>', (_READ,)),
        Sample(f"{_START}{_READ_JSON}{_END}", (_READ,)),
        Sample("[Read(file_path='/a.txt'), Bash(command='ls')]<|eot|>", (_READ, _BASH)),
        Sample("[Fly(a=1)]", (("text", "[Fly(a=1)]"),)),
        Sample("[Read(x)]", (("text", "[Read(x)]"),)),
        Sample("Hello.<|eot|>", (("text", "Hello."),)),
    ),
)
FUNCTIONARY = Family(
    name="functionary",
    detect=(("<function=", "<|start_header_id|>"),),
    calls=(
        _FUNCTION_CALL,
        CallFormat(kind="object"),
        CallFormat(kind="object", opening="<|python_tag|>"),
    ),
    stops=("<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"),
    samples=(
        Sample('<function=Read>{"file_path": "/a.txt"}</function><|eom_id|>', (_READ,)),
        Sample(
            'Look.<function=Read>{"file_path": "/a.txt"}</function>'
            '<function=Bash>{"command": "ls"}</function>',
            (("text", "Look."), _READ, _BASH),
        ),
        Sample(_READ_JSON, (_READ,)),
        Sample("<function=Bash>{}</function>", (("call", "Bash", "{}"),)),
        Sample("Hello.<|eot_id|>", (("text", "Hello."),)),
        Sample("<function=Fly>{}</function>", (("error", "<function=Fly>{}</function>"),)),
    ),
)
FUNCTIONARY32 = Family(
    name="functionary-v3.2",
    detect=((">>>${recipient}", ">>>all"),),
    calls=(
        CallFormat(
            kind="arguments",
            opening=">>>",
            head=r"(?P<name>[^>\s{]+)\n\s*",
            shape=Shape(before="", between="\n", after=""),
        ),
    ),
    stops=("<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"),
    recipients=Recipients(opening=">>>", text="all"),
    samples=(
        Sample('Read\n{"file_path": "/a.txt"}<|eot_id|>', (_READ,)),
        Sample('>>>Read\n{"file_path": "/a.txt"}', (_READ,)),
        Sample(
            'all\nLook.>>>Read\n{"file_path": "/a.txt"}>>>Bash\n{"command": "ls"}<|eot_id|>',
            (("text", "Look."), _READ, _BASH),
        ),
        Sample("all\nHello.<|eot_id|>", (("text", "Hello."),)),
        Sample("Hello.", (("text", "Hello."),)),
        Sample(
            "all\nIn Python:\n>>> Read\n>>>Fly\n{}",
            (("text", "In Python:\n>>> Read\n>>>Fly\n{}"),),
        ),
        Sample("Read\nno JSON", (("error", ">>>Read\nno JSON"),)),
    ),
)
