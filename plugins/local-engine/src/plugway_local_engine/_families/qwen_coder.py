"""Qwen3-Coder and Qwen 3.5: one tag per argument inside `<function=…>`.

Sources: chat templates of Qwen3-Coder and Qwen 3.5; llama.cpp's `common/chat.cpp` for what models
get wrong.
"""

from __future__ import annotations

from plugway_local_engine._families._base import CallFormat, Family, Sample, Shape
from plugway_local_engine._families.hermes import HERMES_CALL, QWEN_CODER_CALL

_CALL = CallFormat(
    kind="tags",
    opening="<tool_call>",
    closing="</function>",
    outer="</tool_call>",
    wrapped=True,
    head=r"\s*<function=(?P<name>[^>\s]+)\s*>",
    parameter=QWEN_CODER_CALL.parameter,
    shape=Shape(
        before="\n<function=",
        between=">\n",
        after="</function>\n</tool_call>",
        key="<parameter={key}>\n",
        value_end="\n</parameter>\n",
    ),
)
_READ = ("call", "Read", '{"file_path": "/a.txt"}')
_BODY = "<function=Read>\n<parameter=file_path>\n/a.txt\n</parameter>\n</function>"

QWEN_CODER = Family(
    name="qwen-coder",
    detect=(("<function=", "<parameter="),),
    calls=(_CALL, QWEN_CODER_CALL, HERMES_CALL),
    stops=("<|im_end|>", "<|endoftext|>"),
    separator="\n",
    samples=(
        Sample(f"<tool_call>\n{_BODY}\n</tool_call>", (_READ,)),
        Sample(
            f"Reading.\n\n<tool_call>\n{_BODY}\n</tool_call>\n<tool_call>\n<function=Bash>\n"
            "<parameter=command>\nls -l\n</parameter>\n<parameter=timeout>\n5\n</parameter>\n"
            "</function>\n</tool_call>",
            (("text", "Reading."), _READ, ("call", "Bash", '{"command": "ls -l", "timeout": 5}')),
        ),
        # Without the opening tag, and without either outer tag.
        Sample(f"{_BODY}\n</tool_call>", (_READ,)),
        Sample(_BODY, (_READ,)),
        Sample(
            "<tool_call>\n<function=Write>\n<parameter=file_path>\n/x\n</parameter>\n"
            "<parameter=content>\n<a>\n</parameter> is a tag\n</function>\n\n</parameter>\n"
            "</function>\n</tool_call>",
            (
                (
                    "call",
                    "Write",
                    '{"file_path": "/x", '
                    '"content": "<a>\\n</parameter> is a tag\\n</function>\\n"}',
                ),
            ),
        ),
        Sample(
            "<tool_call>\n<function=Bash>\n<parameter=command>\n123\n</parameter>\n"
            "<parameter=timeout>\n[1]\n</parameter>\n</function>\n</tool_call>",
            (("call", "Bash", '{"command": "123", "timeout": [1]}'),),
        ),
        Sample(
            '<tool_call>\n{"name": "Read", "arguments": {"file_path": "/a.txt"}}\n</tool_call>',
            (_READ,),
        ),
        Sample("Plan.\n</think>\n\nHi.", (("thinking", "Plan."), ("text", "Hi.")), thinking=True),
        Sample(
            "<tool_call>\n<function=Read>\n<parameter=file_path>\n/a",
            (("error", "<tool_call>\n<function=Read>\n<parameter=file_path>\n/a"),),
        ),
    ),
)
