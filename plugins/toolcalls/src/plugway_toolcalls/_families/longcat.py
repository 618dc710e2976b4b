"""LongCat: the name and pairs of tags, as GLM has them, or JSON, between its own tags.

Sources: Meituan's model card of LongCat-Flash-Chat (JSON); what LongCat-Flash-Lite writes, as
HKUDS/nanobot#1057 and mlx-lm's parser of its calls describe it.
"""

from __future__ import annotations

from plugway_toolcalls._families._base import CallFormat, Family, Sample, Shape

_OPEN, _CLOSE = "<longcat_tool_call>", "</longcat_tool_call>"
_CALL = CallFormat(
    kind="tags",
    opening=_OPEN,
    closing=_CLOSE,
    head=r"\s*(?P<name>[^\s<{]+)\s*(?=[<{])",
    key=r"<longcat_arg_key>(?P<key>[^<\n]*+)</longcat_arg_key>\s*<longcat_arg_value>",
    parameter_end="</longcat_arg_value>",
    shape=Shape(
        before="",
        between="\n",
        after=_CLOSE,
        key="<longcat_arg_key>{key}</longcat_arg_key>\n<longcat_arg_value>",
        value_end="</longcat_arg_value>\n",
    ),
)
_READ = ("call", "Read", '{"file_path": "/a.txt"}')
_READ_JSON = '{"name": "Read", "arguments": {"file_path": "/a.txt"}}'
_BODY = (
    "Read\n<longcat_arg_key>file_path</longcat_arg_key>\n"
    "<longcat_arg_value>/a.txt</longcat_arg_value>\n"
)

LONGCAT = Family(
    name="longcat",
    detect=((_OPEN,), ("<longcat_think>",)),
    calls=(_CALL, CallFormat(kind="object", opening=_OPEN, closing=_CLOSE)),
    reasoning=(("<longcat_think>", "</longcat_think>"), ("<think>", "</think>")),
    stops=("</longcat_s>", "<longcat_user>"),
    separator="\n",
    samples=(
        Sample(f"{_OPEN}{_BODY}{_CLOSE}", (_READ,)),
        Sample(
            f"<longcat_think>\nHm.\n</longcat_think>\nLook.\n{_OPEN}{_BODY}{_CLOSE}</longcat_s>",
            (("thinking", "Hm."), ("text", "Look."), _READ),
        ),
        Sample(f"{_OPEN}\n{_READ_JSON}\n{_CLOSE}", (_READ,)),
        Sample(f"{_OPEN}\n{_READ_JSON}\n{_CLOSE}{_OPEN}\n{_READ_JSON}\n{_CLOSE}", (_READ, _READ)),
        Sample(f"{_OPEN}Bash\n{_CLOSE}", (("call", "Bash", "{}"),)),
        Sample(f"{_OPEN}functions.{_BODY}{_CLOSE}", (_READ,)),
        Sample(f"{_OPEN}Fly\n{_CLOSE}", (("error", f"{_OPEN}Fly\n{_CLOSE}"),)),
    ),
)
