"""Hermes and Qwen: one JSON object between `<tool_call>` tags.

Sources: model cards of NousResearch Hermes 2 Pro and 3, chat templates of Qwen 2.5 and Qwen 3.
"""

from __future__ import annotations

from plugway_toolcalls._families._base import CallFormat, Family, Sample, Shape

HERMES_CALL = CallFormat(
    kind="object",
    opening="<tool_call>",
    closing="</tool_call>",
    shape=Shape(
        before='\n{"name": "',
        between='", "arguments": ',
        after="}\n</tool_call>",
    ),
)
QWEN_CODER_CALL = CallFormat(
    kind="tags",
    opening="<function=",
    closing="</function>",
    outers=("</tool_call>",),
    wrapped=True,
    head=r"(?P<name>[^>\s]+)\s*>",
    key=r"<parameter=(?P<key>[^>\n]+)>",
    unclosed=True,
    parameter_end="</parameter>",
)

_READ = ("call", "Read", '{"file_path": "/a.txt"}')
_READ_JSON = '{"name": "Read", "arguments": {"file_path": "/a.txt"}}'

HERMES = Family(
    name="hermes",
    detect=(
        ("<tool_call>", '"arguments"'),
        ("<tool_call>", "tool_call.arguments"),
        ("<|im_start|>", "<tool_call>"),
        ("<tool_call>", "<tools>"),
    ),
    calls=(HERMES_CALL, QWEN_CODER_CALL, CallFormat(kind="object")),
    stops=("<|im_end|>", "<|endoftext|>"),
    separator="\n",
    samples=(
        Sample(f"<tool_call>\n{_READ_JSON}\n</tool_call>", (_READ,)),
        Sample(
            f"I read it.\n<tool_call>\n{_READ_JSON}\n</tool_call>\n"
            '<tool_call>\n{"name": "Bash", "arguments": {"command": "ls"}}\n</tool_call>',
            (("text", "I read it."), _READ, ("call", "Bash", '{"command": "ls"}')),
        ),
        Sample(
            f"<think>\nA file.\n</think>\n\n<tool_call>\n{_READ_JSON}\n</tool_call>",
            (("thinking", "A file."), _READ),
        ),
        Sample("Hm.\n</think>\n\nDone.", (("thinking", "Hm."), ("text", "Done.")), thinking=True),
        # One closing brace too many, one too few, no closing tag, as small models write it.
        Sample(f"<tool_call>\n{_READ_JSON}}}\n</tool_call>", (_READ,)),
        Sample(f"<tool_call>\n{_READ_JSON[:-1]}\n</tool_call>", (_READ,)),
        Sample(f"<tool_call>\n{_READ_JSON}", (_READ,)),
        Sample(
            '<tool_call>\n{"name": "Read", "arguments": "{\\"file_path\\": \\"/a.txt\\"}"}\n'
            "</tool_call>",
            (_READ,),
        ),
        Sample(
            "<tool_call>\n{'name': 'Read', 'arguments': {'file_path': '/a.txt'}}\n</tool_call>",
            (_READ,),
        ),
        Sample(f"<tool_call>\n{_READ_JSON}\n{_READ_JSON}\n</tool_call>", (_READ, _READ)),
        Sample("The Read tool takes a path.", (("text", "The Read tool takes a path."),)),
        Sample(
            '<tool_call>\n{"name": "Fly", "arguments": {}}\n</tool_call>',
            (("error", '<tool_call>\n{"name": "Fly", "arguments": {}}\n</tool_call>'),),
        ),
        Sample(
            '<tool_call>\n{"name": "Write", "arguments": {"file_path": "/x", '
            '"content": "</tool_call> {\\"a\\": [1]}"}}\n</tool_call>',
            (
                (
                    "call",
                    "Write",
                    '{"file_path": "/x", "content": "</tool_call> {\\"a\\": [1]}"}',
                ),
            ),
        ),
    ),
)
