"""Gemma: calls in braces (FunctionGemma, Gemma 4), or the formats that Gemma 3 is prompted for.

Sources: chat template of Gemma 4; Google's pages on function calling with Gemma and FunctionGemma.
"""

from __future__ import annotations

from plugway_toolcalls._families._base import CallFormat, Family, Sample, Shape
from plugway_toolcalls._families.hermes import HERMES_CALL

_GEMMA4_CALL = CallFormat(
    kind="braces",
    opening="<|tool_call>",
    closing="<tool_call|>",
    head=r"\s*call:\s*(?P<name>[^\s{]+)\s*(?=\{)",
    quote='<|"|>',
    shape=Shape(before="call:", between="", after="<tool_call|>", quote='<|"|>'),
)
_FUNCTION_CALL = CallFormat(
    kind="braces",
    opening="<start_function_call>",
    closing="<end_function_call>",
    head=r"\s*call:\s*(?P<name>[^\s{]+)\s*(?=\{)",
    quote="<escape>",
    shape=Shape(before="call:", between="", after="<end_function_call>", quote="<escape>"),
)
_TOOL_CODE = CallFormat(kind="python", opening="```tool_code\n", closing="```")
_FENCED = CallFormat(kind="object", opening="```json\n", closing="```")
_BARE = CallFormat(kind="object")
_READ = ("call", "Read", '{"file_path": "/a.txt"}')
_BASH = ("call", "Bash", '{"command": "ls", "timeout": 5}')

GEMMA4 = Family(
    name="gemma4",
    detect=(("<|tool_call>",), ("<|turn>", "<turn|>")),
    calls=(_GEMMA4_CALL,),
    reasoning=(("<|channel>thought", "<channel|>"), ("<|channel>", "<channel|>")),
    noise=("<|tool_response>",),
    stops=("<turn|>",),
    samples=(
        Sample('<|tool_call>call:Read{file_path:<|"|>/a.txt<|"|>}<tool_call|>', (_READ,)),
        Sample(
            'Yes.<|tool_call>call:Bash{command:<|"|>ls<|"|>,timeout:5}<tool_call|>'
            '<|tool_call>call:Read{file_path:<|"|>/a.txt<|"|>}<tool_call|><|tool_response>',
            (("text", "Yes."), _BASH, _READ),
        ),
        Sample(
            "<|channel>thought\nHm.\n<channel|>Hi.<turn|>", (("thinking", "Hm."), ("text", "Hi."))
        ),
        Sample("<|channel>thought\n<channel|>Hi.", (("text", "Hi."),)),
        Sample(
            '<|tool_call>call:Write{content:<|"|>a}<tool_call|>{"b": 1}<|"|>,'
            'file_path:<|"|>/x<|"|>}<tool_call|>',
            (("call", "Write", '{"content": "a}<tool_call|>{\\"b\\": 1}", "file_path": "/x"}'),),
        ),
        Sample(
            '<|tool_call>call:Edit{edits:[{new:<|"|>b<|"|>,old:<|"|>a<|"|>}],all:true}<tool_call|>',
            (("call", "Edit", '{"edits": [{"new": "b", "old": "a"}], "all": true}'),),
        ),
        # Plain quotes instead of the marks.
        Sample('<|tool_call>call:Read{"file_path": "/a.txt"}<tool_call|>', (_READ,)),
        Sample(
            "<|tool_call>call:Fly{}<tool_call|>", (("error", "<|tool_call>call:Fly{}<tool_call|>"),)
        ),
    ),
)
FUNCTION_GEMMA = Family(
    name="function-gemma",
    detect=(("<start_function_call>",),),
    calls=(_FUNCTION_CALL,),
    noise=("<start_function_response>",),
    stops=("<end_of_turn>",),
    samples=(
        Sample(
            "<start_function_call>call:Read{file_path:<escape>/a.txt<escape>}<end_function_call>",
            (_READ,),
        ),
        Sample(
            "<start_function_call>call:Bash{command:<escape>ls<escape>,timeout:5}"
            "<end_function_call><start_function_response>",
            (_BASH,),
        ),
        Sample("Hello.<end_of_turn>", (("text", "Hello."),)),
        Sample(
            "<start_function_call>call:Read{file_path:<escape>/a.txt<escape>}<end_function_call>"
            "<start_function_call>call:Bash{command:<escape>ls<escape>,timeout:5}"
            "<end_function_call>",
            (_READ, _BASH),
        ),
        Sample(
            "<start_function_call>call:Read{file_path:<escape>/a",
            (("error", "<start_function_call>call:Read{file_path:<escape>/a"),),
        ),
        Sample(
            "<start_function_call>call:Fly{}<end_function_call>",
            (("error", "<start_function_call>call:Fly{}<end_function_call>"),),
        ),
    ),
)
GEMMA = Family(
    name="gemma",
    detect=(("<start_of_turn>",),),
    calls=(HERMES_CALL, _TOOL_CODE, _FENCED, _BARE),
    stops=("<end_of_turn>",),
    separator="\n",
    samples=(
        Sample('```tool_code\nRead(file_path="/a.txt")\n```', (_READ,)),
        Sample('```tool_code\nprint(default_api.Bash(command="ls", timeout=5))\n```', (_BASH,)),
        Sample('{"name": "Read", "parameters": {"file_path": "/a.txt"}}', (_READ,)),
        Sample('```json\n{"name": "Read", "arguments": {"file_path": "/a.txt"}}\n```', (_READ,)),
        Sample(
            '<tool_call>\n{"name": "Read", "arguments": {"file_path": "/a.txt"}}\n</tool_call>',
            (_READ,),
        ),
        Sample(
            "See:\n```tool_code\nx = 1\n```",
            (("text", "See:"), ("error", "\n```tool_code\nx = 1\n```")),
        ),
        Sample("```python\nprint(1)\n```", (("text", "```python\nprint(1)\n```"),)),
    ),
)
