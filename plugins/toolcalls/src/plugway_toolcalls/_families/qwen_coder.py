"""Qwen3-Coder, Qwen 3.5 and Seed-OSS: one tag per argument inside `<function=…>`.

Sources: chat templates of Qwen3-Coder, Qwen 3.5 and Seed-OSS; llama.cpp's `common/chat.cpp` for
common mistakes.
"""

from __future__ import annotations

from dataclasses import replace

from plugway_toolcalls._families._base import CallFormat, Family, Sample, Shape
from plugway_toolcalls._families.hermes import HERMES_CALL, QWEN_CODER_CALL


def _call(tag: str, line: str = "\n") -> CallFormat:
    """`line` stands between the tags of an argument and its value."""
    return CallFormat(
        kind="tags",
        opening=f"<{tag}>",
        closing="</function>",
        outers=(f"</{tag}>",),
        wrapped=bool(line),
        head=r"\s*<function=(?P<name>[^>\s]+)\s*>",
        key=QWEN_CODER_CALL.key,
        unclosed=True,
        parameter_end=QWEN_CODER_CALL.parameter_end,
        shape=Shape(
            before="\n<function=",
            between=">\n",
            after=f"</function>\n</{tag}>",
            key=f"<parameter={{key}}>{line}",
            value_end=f"{line}</parameter>\n",
        ),
    )


_READ = ("call", "Read", '{"file_path": "/a.txt"}')
_BODY = "<function=Read>\n<parameter=file_path>\n/a.txt\n</parameter>\n</function>"

QWEN_CODER = Family(
    name="qwen-coder",
    detect=(("<function=", "<parameter="),),
    calls=(_call("tool_call"), QWEN_CODER_CALL, HERMES_CALL),
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

_SEED = "<seed:tool_call>\n{}\n</seed:tool_call>"
_SEED_BODY = "<function=Read>\n<parameter=file_path>/a.txt</parameter>\n</function>"
_SEED_FUNCTION = replace(QWEN_CODER_CALL, outers=("</seed:tool_call>",), wrapped=False)
SEED_OSS = Family(
    name="seed-oss",
    detect=(("<seed:tool_call>",),),
    calls=(_call("seed:tool_call", line=""), _SEED_FUNCTION),
    reasoning=(("<seed:think>", "</seed:think>"),),
    stops=("<seed:eos>",),
    separator="\n",
    samples=(
        Sample(_SEED.format(_SEED_BODY), (_READ,)),
        Sample(
            f"<seed:think>\nHm.</seed:think>Reading.\n{_SEED.format(_SEED_BODY)}<seed:eos>",
            (("thinking", "Hm."), ("text", "Reading."), _READ),
        ),
        Sample(_SEED_BODY, (_READ,)),
        Sample(
            "<seed:tool_call>\n<function=Write>\n<parameter=content>a\n</parameter>\n"
            "<parameter=file_path>/x</parameter>\n</function>\n</seed:tool_call>",
            (("call", "Write", '{"content": "a\\n", "file_path": "/x"}'),),
        ),
        Sample("Hm.</seed:think>Hi.", (("thinking", "Hm."), ("text", "Hi.")), thinking=True),
        Sample("<seed:think></seed:think>Hi.", (("text", "Hi."),)),
        Sample(
            "<seed:tool_call>\n<function=Fly>\n</function>\n</seed:tool_call>",
            (("error", "<seed:tool_call>\n<function=Fly>\n</function>\n</seed:tool_call>"),),
        ),
    ),
)
