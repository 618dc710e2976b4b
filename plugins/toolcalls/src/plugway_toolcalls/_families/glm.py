"""GLM 4.5 and later: the name, then pairs of `<arg_key>` and `<arg_value>`.

From 4.7 on, nothing stands between the tags. Laguna, Ling 3 and Spark write as GLM does.

Sources: chat templates of GLM 4.5, 4.6 and 4.7, Laguna XS and S 2.1, Ling 3.0 Flash, Spark 2.5.
"""

from __future__ import annotations

from dataclasses import replace

from plugway_toolcalls._families._base import CallFormat, Family, Sample, Shape
from plugway_toolcalls._families.hermes import HERMES_CALL

_CALL = CallFormat(
    kind="tags",
    opening="<tool_call>",
    closing="</tool_call>",
    head=r"\s*(?P<name>[^\s<{]+)\s*(?=[<{])",
    key=r"<arg_key>(?P<key>[^<\n]*+)</arg_key>\s*<arg_value>",
    parameter_end="</arg_value>",
    shape=Shape(
        before="",
        between="\n",
        after="</tool_call>",
        key="<arg_key>{key}</arg_key>\n<arg_value>",
        value_end="</arg_value>\n",
    ),
)
_COMPACT_CALL = replace(
    _CALL,
    shape=Shape(
        before="",
        between="",
        after="</tool_call>",
        key="<arg_key>{key}</arg_key><arg_value>",
        value_end="</arg_value>",
    ),
)
_READ = ("call", "Read", '{"file_path": "/a.txt"}')
_BODY = "Read\n<arg_key>file_path</arg_key>\n<arg_value>/a.txt</arg_value>\n"

GLM = Family(
    name="glm",
    detect=(("<arg_key>", "<arg_value>"), ("[gMASK]", "<|assistant|>")),
    calls=(_CALL, HERMES_CALL),
    noise=("<|assistant|>",),
    stops=("<|user|>", "<|observation|>", "<|endoftext|>"),
    separator="\n",
    samples=(
        Sample(f"<tool_call>{_BODY}</tool_call>", (_READ,)),
        Sample(
            "<tool_call>Read<arg_key>file_path</arg_key><arg_value>/a.txt</arg_value></tool_call>",
            (_READ,),
        ),
        Sample(
            f"\n<think>Hm.</think>\nLooking.\n<tool_call>{_BODY}</tool_call>\n<tool_call>Bash\n"
            "<arg_key>command</arg_key>\n<arg_value>ls</arg_value>\n<arg_key>timeout</arg_key>\n"
            "<arg_value>5</arg_value>\n</tool_call><|observation|>",
            (
                ("thinking", "Hm."),
                ("text", "Looking."),
                _READ,
                ("call", "Bash", '{"command": "ls", "timeout": 5}'),
            ),
        ),
        Sample("<think></think>\nHi.", (("text", "Hi."),)),
        Sample(
            '<tool_call>{"name": "Read", "arguments": {"file_path": "/a.txt"}}</tool_call>',
            (_READ,),
        ),
        Sample(
            "<tool_call>Write\n<arg_key>file_path</arg_key>\n<arg_value>/x</arg_value>\n"
            "<arg_key>content</arg_key>\n<arg_value>a\n</arg_value> b</arg_value>\n</tool_call>",
            (("call", "Write", '{"file_path": "/x", "content": "a\\n</arg_value> b"}'),),
        ),
        Sample("<tool_call>Ls\n</tool_call>", (("error", "<tool_call>Ls\n</tool_call>"),)),
    ),
)
GLM47 = replace(
    GLM,
    name="glm4.7",
    detect=(("</arg_key><arg_value>",), ('"</arg_key>" -}}',)),
    calls=(_COMPACT_CALL, HERMES_CALL),
    separator="",
)
