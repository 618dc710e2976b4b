"""Step 3: `<steptml:invoke>` with one tag per argument, inside of markers. 3.5 writes as Qwen does.

Sources: StepFun's model card of Step 3; the parsers of vLLM and SGLang for it.
"""

from __future__ import annotations

from plugway_toolcalls._families._base import CallFormat, Family, Sample, Shape

_BAR = "\uff5c"
_ALL, _ALL_END = f"<{_BAR}tool_calls_begin{_BAR}>", f"<{_BAR}tool_calls_end{_BAR}>"
_BEGIN, _END = f"<{_BAR}tool_call_begin{_BAR}>", f"<{_BAR}tool_call_end{_BAR}>"
_SEP = f"<{_BAR}tool_sep{_BAR}>"
_CALL = CallFormat(
    kind="tags",
    opening='<steptml:invoke name="',
    closing="</steptml:invoke>",
    outers=(_END,),
    head=r'(?P<name>[^"\n]+)"\s*>',
    key=r'<steptml:parameter name="(?P<key>[^"\n]+)"\s*>',
    parameter_end="</steptml:parameter>",
    shape=Shape(
        before="",
        between='">\n',
        after="</steptml:invoke>",
        key='<steptml:parameter name="{key}">',
        value_end="</steptml:parameter>\n",
    ),
)
_READ = ("call", "Read", '{"file_path": "/a.txt"}')
_INVOKE = (
    '<steptml:invoke name="Read"><steptml:parameter name="file_path">/a.txt</steptml:parameter>'
    "</steptml:invoke>"
)
_ONE = f"{_BEGIN}function{_SEP}{_INVOKE}{_END}"

STEP3 = Family(
    name="step3",
    detect=(("steptml:invoke",),),
    calls=(_CALL,),
    noise=(_ALL, _ALL_END, f"{_BEGIN}function{_SEP}", _BEGIN, _SEP, _END),
    section=(f"{_ALL}\n{_BEGIN}function{_SEP}", f"{_END}\n{_ALL_END}"),
    separator=f"{_END}\n{_BEGIN}function{_SEP}",
    samples=(
        Sample(f"{_ALL}\n{_ONE}\n{_ALL_END}", (_READ,)),
        Sample(f"Look.{_ALL}{_ONE}{_ONE}{_ALL_END}", (("text", "Look."), _READ, _READ)),
        Sample(f"{_ALL}{_BEGIN}{_INVOKE}{_END}{_ALL_END}", (_READ,)),
        Sample(
            f"Hm.\n</think>\n{_ALL}{_ONE}{_ALL_END}", (("thinking", "Hm."), _READ), thinking=True
        ),
        Sample(
            '<steptml:invoke name="Write"><steptml:parameter name="content">  a\n'
            "</steptml:parameter></steptml:invoke>",
            (("call", "Write", '{"content": "  a\\n"}'),),
        ),
        Sample(
            '<steptml:invoke name="Fly"></steptml:invoke>',
            (("error", '<steptml:invoke name="Fly"></steptml:invoke>'),),
        ),
    ),
)
