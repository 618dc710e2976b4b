# ruff: noqa: RUF001 -- the markers of DeepSeek are written with full-width bars
"""DeepSeek: V3 and R1 with fenced JSON, V3.1 without the fence, V3.2 and V4 with their own tags.

Sources: chat templates of DeepSeek R1, V3.1, V3.2 and V4.
"""

from __future__ import annotations

import re
from dataclasses import replace

from plugway_toolcalls._families._base import CallFormat, Family, Sample, Shape

_BEGIN, _END = "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>"
_ALL, _ALL_END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
_SEP = "<｜tool▁sep｜>"
_HEAD = rf"\s*(?:function\s*{_SEP}\s*)?(?P<name>[^\s<`｜]+)\s*(?:{_SEP})?\s*(?:```(?:json)?)?\s*"
_R1_CALL = CallFormat(
    kind="arguments",
    opening=_BEGIN,
    closing=_END,
    head=_HEAD,
    shape=Shape(before=f"function{_SEP}", between="\n```json\n", after=f"\n```{_END}"),
)
_V31_CALL = CallFormat(
    kind="arguments",
    opening=_BEGIN,
    closing=_END,
    head=_HEAD,
    shape=Shape(before="", between=_SEP, after=_END),
)
_DSML = "｜DSML｜"
_BARS = ("|", "||", "｜｜", " | ", " ｜ ", "│", "┃", "∣", "❘", "￨", "ǀ", "▏", "⎮")
"""What models write in the place of the full-width bars."""


_SECTIONS = ("function_calls", "tool_calls", "tool_use")


def _dsml_calls(dsml: str) -> tuple[CallFormat, CallFormat]:
    """A call, and one without arguments whose only tag closes itself."""
    tag, escaped = f"</{dsml}invoke>", re.escape(dsml)
    head = r'(?P<name>[^"\n]+)"\s*'
    own = CallFormat(
        kind="tags",
        opening=f'<{dsml}invoke name="',
        closing=tag,
        head=f"{head}>",
        outers=tuple(f"</{dsml}{section}>" for section in _SECTIONS),
        key=rf'<{escaped}parameter name="(?P<key>[^"\n]+)"(?: string="(?P<typed>\w+)")?\s*>',
        parameter_end=f"</{dsml}parameter>",
        shape=Shape(
            before="",
            between='">\n',
            after=tag,
            key=f'<{dsml}parameter name="{{key}}" string="true">',
            typed=f'<{dsml}parameter name="{{key}}" string="false">',
            value_end=f"</{dsml}parameter>\n",
        ),
    )
    return own, CallFormat(kind="arguments", opening=own.opening, closing="/>", head=head)


_OTHER_BARS = tuple(
    replace(spec, shape=None) for bars in _BARS for spec in _dsml_calls(f"{bars}DSML{bars}")
)
"""The same with other bars: they are read and never asked for."""


_DSML_ALL, _DSML_ALL_END = f"<{_DSML}tool_calls>", f"</{_DSML}tool_calls>"
_DSML_NOISE = tuple(
    f"<{slash}{bars}DSML{bars}{section}>"
    for bars in ("｜", *_BARS)
    for section in _SECTIONS
    for slash in ("", "/")
)
_STOPS = ("<｜end▁of▁sentence｜>",)
_READ = ("call", "Read", '{"file_path": "/a.txt"}')
_BASH = ("call", "Bash", '{"command": "ls"}')
_R1_READ = f'{_BEGIN}function{_SEP}Read\n```json\n{{"file_path": "/a.txt"}}\n```{_END}'
_V31_READ = f'{_BEGIN}Read{_SEP}{{"file_path": "/a.txt"}}{_END}'
_SAMPLES = (
    Sample(f"{_ALL}{_R1_READ}{_ALL_END}", (_READ,)),
    Sample(f"{_ALL}{_V31_READ}{_ALL_END}<｜end▁of▁sentence｜>", (_READ,)),
    Sample(
        f"Look.{_ALL}{_R1_READ}\n{_BEGIN}function{_SEP}Bash\n```json\n"
        f'{{"command": "ls"}}\n```{_END}{_ALL_END}',
        (("text", "Look."), _READ, _BASH),
    ),
    Sample("Hm.\n</think>\n\nHi.", (("thinking", "Hm."), ("text", "Hi.")), thinking=True),
    Sample(f"<think>Hm.</think>{_ALL}{_V31_READ}{_ALL_END}", (("thinking", "Hm."), _READ)),
    # Without the outer markers, and without a closing one, as distilled models write it.
    Sample(_R1_READ, (_READ,)),
    Sample(f'{_BEGIN}Bash{_SEP}{{"command": "ls"}}', (_BASH,)),
    Sample("</think>Hi.", (("text", "Hi."),)),
)

DEEPSEEK = Family(
    name="deepseek",
    detect=((_SEP, "```json"),),
    calls=(_R1_CALL,),
    noise=(_ALL, _ALL_END),
    stops=_STOPS,
    section=(_ALL, _ALL_END),
    separator="\n",
    samples=_SAMPLES,
)
DEEPSEEK_V31 = Family(
    name="deepseek-v3.1",
    detect=((_SEP,), ("<｜Assistant｜>",)),
    calls=(_V31_CALL,),
    noise=(_ALL, _ALL_END),
    stops=_STOPS,
    section=(_ALL, _ALL_END),
    samples=_SAMPLES,
)
DEEPSEEK_V32 = Family(
    name="deepseek-v3.2",
    detect=((_DSML,), ("dsml_token",)),
    calls=(*_dsml_calls(_DSML), *_OTHER_BARS, _V31_CALL),
    noise=(*_DSML_NOISE, _ALL, _ALL_END),
    stops=_STOPS,
    section=(f"\n\n<{_DSML}function_calls>\n", f"\n</{_DSML}function_calls>"),
    separator="\n",
    samples=(
        Sample(
            f'Look.\n\n<{_DSML}function_calls>\n<{_DSML}invoke name="Read">\n'
            f'<{_DSML}parameter name="file_path" string="true">/a.txt</{_DSML}parameter>\n'
            f"</{_DSML}invoke>\n</{_DSML}function_calls>",
            (("text", "Look."), _READ),
        ),
        Sample(
            f'<{_DSML}function_calls>\n<{_DSML}invoke name="Bash">\n'
            f'<{_DSML}parameter name="command" string="true">5</{_DSML}parameter>\n'
            f'<{_DSML}parameter name="timeout" string="false">5</{_DSML}parameter>\n'
            f"</{_DSML}invoke>\n</{_DSML}function_calls>",
            (("call", "Bash", '{"command": "5", "timeout": 5}'),),
        ),
        Sample(
            f'<{_DSML}invoke name="Read">'
            f'<{_DSML}parameter name="file_path">/a.txt</{_DSML}parameter></{_DSML}invoke>',
            (_READ,),
        ),
        Sample("Hm.</think>Hi.", (("thinking", "Hm."), ("text", "Hi.")), thinking=True),
        Sample(_V31_READ, (_READ,)),
        Sample(
            f'<{_DSML}function_calls>\n<{_DSML}invoke name="Bash"/>\n</{_DSML}function_calls>',
            (("call", "Bash", "{}"),),
        ),
        Sample(
            '<|DSML|function_calls>\n<|DSML|invoke name="Read">\n<|DSML|parameter name="file_path" '
            'string="true">/a.txt</|DSML|parameter>\n</|DSML|invoke>\n</|DSML|function_calls>',
            (_READ,),
        ),
        # The call is not closed, only what is around all of them.
        Sample(
            f'<{_DSML}function_calls>\n<{_DSML}invoke name="Read">\n'
            f'<{_DSML}parameter name="file_path" string="true">/a.txt</{_DSML}parameter>\n'
            f"</{_DSML}function_calls>",
            (_READ,),
        ),
        Sample(
            f'<{_DSML}invoke name="Fly">\n</{_DSML}invoke>',
            (("error", f'<{_DSML}invoke name="Fly">\n</{_DSML}invoke>'),),
        ),
    ),
)
_V4_READ = (
    f'<{_DSML}invoke name="Read">\n'
    f'<{_DSML}parameter name="file_path" string="true">/a.txt</{_DSML}parameter>\n'
    f"</{_DSML}invoke>\n"
)
DEEPSEEK_V4 = replace(
    DEEPSEEK_V32,
    name="deepseek-v4",
    detect=((_DSML, "tool_calls>"), ("dsml_token", "tool_calls>")),
    section=(f"\n\n{_DSML_ALL}\n", f"\n{_DSML_ALL_END}"),
    samples=(
        Sample(f"Look.\n\n{_DSML_ALL}\n{_V4_READ}{_DSML_ALL_END}", (("text", "Look."), _READ)),
        Sample(f"{_DSML_ALL}\n{_V4_READ}{_V4_READ}{_DSML_ALL_END}", (_READ, _READ)),
        *DEEPSEEK_V32.samples[2:],
    ),
)
