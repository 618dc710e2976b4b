"""MiniMax: `<invoke>` with one tag per argument; in M3 the tag is the argument's name.

Sources: chat templates of MiniMax M2 and M3; MiniMax's page on tool calling.
"""

from __future__ import annotations

from plugway_toolcalls._families._base import CallFormat, Family, Sample, Shape

_ALL, _ALL_END = "<minimax:tool_call>", "</minimax:tool_call>"
_CALL = CallFormat(
    kind="tags",
    opening='<invoke name="',
    closing="</invoke>",
    head=r'(?P<name>[^"\n]+)"\s*>',
    outers=(_ALL_END,),
    key=r'<parameter name="(?P<key>[^"\n]+)"\s*>',
    parameter_end="</parameter>",
    shape=Shape(
        before="",
        between='">\n',
        after="</invoke>",
        key='<parameter name="{key}">',
        value_end="</parameter>\n",
    ),
)
_M1_CALL = CallFormat(kind="object", opening="<tool_calls>", closing="</tool_calls>")
_READ = ("call", "Read", '{"file_path": "/a.txt"}')
_INVOKE = '<invoke name="Read">\n<parameter name="file_path">/a.txt</parameter>\n</invoke>'

MINIMAX = Family(
    name="minimax",
    detect=((_ALL,), ("]~!b[",)),
    calls=(_CALL, _M1_CALL),
    noise=(_ALL, _ALL_END),
    stops=("[e~[",),
    section=(f"{_ALL}\n", f"\n{_ALL_END}"),
    separator="\n",
    samples=(
        Sample(f"{_ALL}\n{_INVOKE}\n{_ALL_END}", (_READ,)),
        Sample(
            f'Hm.\n</think>\n\nLooking.\n{_ALL}\n{_INVOKE}\n<invoke name="Bash">\n'
            '<parameter name="command">ls</parameter>\n<parameter name="timeout">5</parameter>\n'
            f"</invoke>\n{_ALL_END}[e~[",
            (
                ("thinking", "Hm."),
                ("text", "Looking."),
                _READ,
                ("call", "Bash", '{"command": "ls", "timeout": 5}'),
            ),
            thinking=True,
        ),
        Sample(_INVOKE, (_READ,)),
        Sample(
            '<tool_calls>\n{"name": "Read", "arguments": {"file_path": "/a.txt"}}\n</tool_calls>',
            (_READ,),
        ),
        Sample(
            '<invoke name="Write"><parameter name="file_path">/x</parameter>'
            '<parameter name="content">a</parameter> b</parameter></invoke>',
            (("call", "Write", '{"file_path": "/x", "content": "a</parameter> b"}'),),
        ),
        Sample('<invoke name="Fly"></invoke>', (("error", '<invoke name="Fly"></invoke>'),)),
    ),
)

_NS = "]<]minimax[>["
_M3_ALL, _M3_ALL_END = f"{_NS}<tool_call>", f"{_NS}</tool_call>"
_NS_CALL = CallFormat(
    kind="tags",
    opening=f'{_NS}<invoke name="',
    closing=f"{_NS}</invoke>",
    head=r'(?P<name>[^"\n]+)"\s*>',
    outers=(_M3_ALL_END,),
    key=r"\]<\]minimax\[>\[<(?P<key>(?!tool_call>)[^<>/\s][^<>/\n]*)>",
    parameter_end=f"{_NS}</{{key}}>",
    nested=True,
    shape=Shape(
        before="",
        between='">',
        after=f"{_NS}</invoke>",
        key=f"{_NS}<{{key}}>",
        value_end=f"{_NS}</{{key}}>",
    ),
)
_M3_READ = f'{_NS}<invoke name="Read">{_NS}<file_path>/a.txt{_NS}</file_path>{_NS}</invoke>\n'
_M3_BASH = (
    f'{_NS}<invoke name="Bash">\n{_NS}<command>ls{_NS}</command>\n{_NS}<timeout>5{_NS}</timeout>\n'
    f"{_NS}</invoke>\n"
)
_M3_EDIT = (
    f'{_NS}<invoke name="Edit">{_NS}<edits>{_NS}<item>{_NS}<old>a{_NS}</old>{_NS}<new>b{_NS}</new>'
    f"{_NS}</item>{_NS}</edits>{_NS}<all>true{_NS}</all>{_NS}</invoke>\n"
)
_M3_FLY = f'{_NS}<invoke name="Fly">{_NS}</invoke>'

MINIMAX_M3 = Family(
    name="minimax-m3",
    detect=((_NS,),),
    calls=(_NS_CALL, _CALL),
    reasoning=(("<mm:think>", "</mm:think>"), ("<think>", "</think>")),
    noise=(_M3_ALL, _M3_ALL_END, _ALL, _ALL_END),
    stops=("[e~[",),
    section=(f"{_M3_ALL}\n", f"\n{_M3_ALL_END}"),
    separator="\n",
    samples=(
        Sample(f"{_M3_ALL}\n{_M3_READ}{_M3_ALL_END}", (_READ,)),
        Sample(
            f"<mm:think>Hm.</mm:think>Look.{_M3_ALL}\n{_M3_READ}{_M3_BASH}{_M3_ALL_END}[e~[",
            (
                ("thinking", "Hm."),
                ("text", "Look."),
                _READ,
                ("call", "Bash", '{"command": "ls", "timeout": 5}'),
            ),
        ),
        Sample(f"</mm:think>{_M3_ALL}\n{_M3_READ}{_M3_ALL_END}", (_READ,)),
        Sample(
            f"{_M3_ALL}\n{_M3_EDIT}{_M3_ALL_END}",
            (("call", "Edit", '{"edits": [{"old": "a", "new": "b"}], "all": true}'),),
        ),
        Sample(
            f'{_NS}<invoke name="Write">{_NS}<file_path>/x{_NS}</file_path>{_NS}<content>a'
            f"{_NS}</content> b{_NS}</content>{_NS}</invoke>",
            (("call", "Write", f'{{"file_path": "/x", "content": "a{_NS}</content> b"}}'),),
        ),
        Sample(_INVOKE, (_READ,)),
        Sample(_M3_FLY, (("error", _M3_FLY),)),
    ),
)
