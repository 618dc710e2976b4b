"""MiniCPM5: `<function name="...">` with one `<param>` per argument, longer texts in CDATA.

Source: chat template of MiniCPM5 1B.
"""

from __future__ import annotations

from plugway_toolcalls._families._base import CallFormat, Family, Sample, Shape
from plugway_toolcalls._families.hermes import HERMES_CALL

_CALL = CallFormat(
    kind="tags",
    opening='<function name="',
    closing="</function>",
    head=r'(?P<name>[^"\n]+)"\s*>',
    key=r'<param name="(?P<key>[^"\n]+)"\s*>',
    parameter_end="</param>",
    cdata=True,
    shape=Shape(
        before="",
        between='">',
        after="</function>",
        key='<param name="{key}">',
        value_end="</param>",
    ),
)
_READ = ("call", "Read", '{"file_path": "/a.txt"}')
_ONE = '<function name="Read"><param name="file_path">/a.txt</param></function>'
_FLY = '<function name="Fly"></function>'

MINICPM = Family(
    name="minicpm",
    detect=(('<function name="', '<param name="'), ("<function name=", "<param name=")),
    calls=(_CALL, HERMES_CALL),
    noise=("<tool_sep>",),
    stops=("<|im_end|>",),
    separator="\n",
    samples=(
        Sample(_ONE, (_READ,)),
        Sample(
            f'Look.\n{_ONE}\n<function name="Bash"><param name="command">'
            '<![CDATA[a < b\n]]></param><param name="timeout">5</param></function><|im_end|>',
            (("text", "Look."), _READ, ("call", "Bash", '{"command": "a < b\\n", "timeout": 5}')),
        ),
        Sample(
            '<function name="Write"><param name="content"><![CDATA[<p></param></function>]]>'
            '</param><param name="file_path">/x</param></function>',
            (("call", "Write", '{"content": "<p></param></function>", "file_path": "/x"}'),),
        ),
        # As the template writes what is not a text.
        Sample(
            "<function name=\"Edit\"><param name=\"edits\">[{'old': 'a', 'new': \"it's\"}]</param>"
            '<param name="all">True</param></function>',
            (("call", "Edit", '{"edits": [{"old": "a", "new": "it\'s"}], "all": true}'),),
        ),
        Sample("<think>\nHm.\n</think>\n\nHi.<|im_end|>", (("thinking", "Hm."), ("text", "Hi."))),
        Sample(_FLY, (("error", _FLY),)),
    ),
)
