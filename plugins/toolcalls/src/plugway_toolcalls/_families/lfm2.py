"""LFM2 and LFM2.5: a Python list of calls between `<|tool_call_start|>` and `<|tool_call_end|>`.

Sources: chat templates of LFM2 8B, LFM2.5 Instruct and LFM2.5 8B; Liquid AI's page on tool use,
by which a system prompt may ask for JSON in the place of Python.
"""

from __future__ import annotations

from plugway_toolcalls._families._base import CallFormat, Family, Sample, Shape

_OPEN, _CLOSE = "<|tool_call_start|>", "<|tool_call_end|>"
PYTHON_CALL = CallFormat(
    kind="python",
    opening=_OPEN,
    closing=_CLOSE,
    shape=Shape(before="[", between="(", after=f")]{_CLOSE}"),
)
_READ = ("call", "Read", '{"file_path": "/a.txt"}')
_BASH = ("call", "Bash", '{"command": "a\\nb", "timeout": null}')
_READ_JSON = '{"name": "Read", "arguments": {"file_path": "/a.txt"}}'

LFM2 = Family(
    name="lfm2",
    detect=(
        ("<|tool_list_start|>",),
        (_OPEN, _CLOSE),
        ("List of tools: [", "<|im_start|>", "keep_past_thinking"),
    ),
    calls=(PYTHON_CALL, CallFormat(kind="object", opening=_OPEN, closing=_CLOSE)),
    stops=("<|im_end|>",),
    samples=(
        Sample(f'{_OPEN}[Read(file_path="/a.txt")]{_CLOSE}', (_READ,)),
        Sample(
            f"Look.{_OPEN}[Read(file_path='/a.txt'), Bash(command=\"a\\nb\", timeout=None)]"
            f"{_CLOSE}<|im_end|>",
            (("text", "Look."), _READ, _BASH),
        ),
        Sample(f'{_OPEN}[Bash(command="a\\nb", timeout=null)]{_CLOSE}', (_BASH,)),
        # A line break as it is, as the template of LFM2.5 8B writes it in the history.
        Sample(f"{_OPEN}[Bash(command='a\nb', timeout=None)]{_CLOSE}", (_BASH,)),
        Sample(
            f"{_OPEN}[Edit(edits=[{{'old': 'it\\'s', 'new': \"]{_CLOSE}\"}}], all=True)]{_CLOSE}",
            (
                (
                    "call",
                    "Edit",
                    f'{{"edits": [{{"old": "it\'s", "new": "]{_CLOSE}"}}], "all": true}}',
                ),
            ),
        ),
        Sample(f"{_OPEN}[{_READ_JSON}]{_CLOSE}", (_READ,)),
        Sample(f'{_OPEN}[Read(file_path="/a.txt")]', (_READ,)),
        Sample(
            f"<think>Hm.</think>{_OPEN}[Read(file_path='/a.txt')]{_CLOSE}",
            (("thinking", "Hm."), _READ),
        ),
        Sample(
            f"{_OPEN}[Read('/a.txt')]{_CLOSE}", (("error", f"{_OPEN}[Read('/a.txt')]{_CLOSE}"),)
        ),
        Sample(f"{_OPEN}[Fly()]{_CLOSE}", (("error", f"{_OPEN}[Fly()]{_CLOSE}"),)),
    ),
)
