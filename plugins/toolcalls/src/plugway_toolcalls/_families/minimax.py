"""MiniMax M2: `<invoke>` with one tag per argument inside `<minimax:tool_call>`.

Sources: chat template of MiniMax M2; MiniMax's page on tool calling.
"""

from __future__ import annotations

from plugway_toolcalls._families._base import CallFormat, Family, Sample, Shape

_ALL, _ALL_END = "<minimax:tool_call>", "</minimax:tool_call>"
_CALL = CallFormat(
    kind="tags",
    opening='<invoke name="',
    closing="</invoke>",
    head=r'(?P<name>[^"\n]+)"\s*>',
    outer=_ALL_END,
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
    detect=((_ALL,), ("<tool_calls>", "]~b]"), ("]~!b[",)),
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
