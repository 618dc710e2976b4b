"""Phi-4-mini: a JSON list of calls after `<|tool_call|>` or after `functools`.

Sources: Microsoft's model card of Phi-4-mini-instruct (`<|tool|>` around the tools, `<|tool_call|>`
before the calls); vLLM's template for that model and the one of Firefunction v2, which ask for
`functools[...]`.
"""

from __future__ import annotations

from dataclasses import replace

from plugway_toolcalls._families._base import CallFormat, Family, Sample, Shape
from plugway_toolcalls._families.hermes import HERMES_CALL

_OPEN, _CLOSE = "<|tool_call|>", "<|/tool_call|>"
_FUNCTOOLS = "functools["
_MARKED_CALL = CallFormat(
    kind="object",
    opening=_OPEN,
    closing=_CLOSE,
    shape=Shape(before='[{"name": "', between='", "arguments": ', after=f"}}]{_CLOSE}"),
)
_FUNCTOOLS_CALL = CallFormat(
    kind="object",
    opening=_FUNCTOOLS,
    shape=Shape(before='{"name": "', between='", "arguments": ', after="}]"),
)
_READ = ("call", "Read", '{"file_path": "/a.txt"}')
_BASH = ("call", "Bash", '{"command": "ls"}')
_READ_JSON = '{"name": "Read", "arguments": {"file_path": "/a.txt"}}'
_BASH_JSON = '{"name": "Bash", "arguments": {"command": "ls"}}'
_SAMPLES = (
    Sample(f"{_OPEN}[{_READ_JSON}]{_CLOSE}", (_READ,)),
    Sample(f"{_OPEN}[{_READ_JSON}, {_BASH_JSON}]{_CLOSE}<|end|>", (_READ, _BASH)),
    Sample(f"{_OPEN}{_READ_JSON}<|end|>", (_READ,)),
    Sample(f"{_FUNCTOOLS}{_READ_JSON}]", (_READ,)),
    Sample(f"Look. {_FUNCTOOLS}{_READ_JSON}, {_BASH_JSON}]", (("text", "Look."), _READ, _BASH)),
    Sample("Use functools[0] here.", (("text", "Use functools[0] here."),)),
    Sample("Hello.<|end|>", (("text", "Hello."),)),
    Sample(
        f'{_OPEN}[{{"name": "Fly", "arguments": {{}}}}]{_CLOSE}',
        (("error", f'{_OPEN}[{{"name": "Fly", "arguments": {{}}}}]{_CLOSE}'),),
    ),
)

PHI = Family(
    name="phi",
    detect=(("<|tool|>", "<|end|>"), ("<|tool_call|>", "<|/tool_call|>")),
    calls=(_MARKED_CALL, _FUNCTOOLS_CALL, HERMES_CALL),
    stops=("<|end|>", "<|endoftext|>"),
    samples=_SAMPLES,
)
FUNCTOOLS = replace(
    PHI,
    name="functools",
    detect=(("functools[",),),
    calls=(_FUNCTOOLS_CALL, _MARKED_CALL, HERMES_CALL),
    stops=("<|end|>", "<|eot_id|>"),
    separator=" ",
)
