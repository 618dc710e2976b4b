"""OLMo 3: calls as Python writes them, one per line, between `<function_calls>` tags.

Source: Ai2's model card of Olmo 3; ml-explore/mlx-lm#1271, by which literals are those of JSON.
"""

from __future__ import annotations

from plugway_toolcalls._families._base import CallFormat, Family, Sample, Shape

_OPEN, _CLOSE = "<function_calls>", "</function_calls>"
_READ = ("call", "Read", '{"file_path": "/a.txt"}')
_BASH = ("call", "Bash", '{"command": "ls", "timeout": null}')

OLMO = Family(
    name="olmo",
    detect=((_OPEN,),),
    calls=(
        CallFormat(
            kind="python",
            opening=_OPEN,
            closing=_CLOSE,
            shape=Shape(before="", between="(", after=f"){_CLOSE}"),
        ),
        CallFormat(kind="object", opening=_OPEN, closing=_CLOSE),
    ),
    stops=("<|im_end|>", "<|endoftext|>"),
    samples=(
        Sample(f'{_OPEN}Read(file_path="/a.txt")\n{_CLOSE}', (_READ,)),
        Sample(
            f'Look.{_OPEN}Read(file_path="/a.txt")\nBash(command="ls", timeout=null){_CLOSE}'
            "<|im_end|>",
            (("text", "Look."), _READ, _BASH),
        ),
        Sample(f"{_OPEN}\nBash(command='ls', timeout=None)\n{_CLOSE}", (_BASH,)),
        Sample(
            f'<think>Hm.</think>\n{_OPEN}Read(file_path="/a.txt"){_CLOSE}',
            (("thinking", "Hm."), _READ),
        ),
        Sample(
            f'{_OPEN}Write(file_path="/x", content="a {_CLOSE} b"){_CLOSE}',
            (("call", "Write", f'{{"file_path": "/x", "content": "a {_CLOSE} b"}}'),),
        ),
        Sample(f"{_OPEN}Fly(){_CLOSE}", (("error", f"{_OPEN}Fly(){_CLOSE}"),)),
    ),
)
