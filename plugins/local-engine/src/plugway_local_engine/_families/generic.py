"""Any other model: JSON in tags, in a fence or bare. Also what models without tools are told."""

from __future__ import annotations

from plugway_local_engine._families._base import CallFormat, Family, Sample
from plugway_local_engine._families.hermes import HERMES_CALL

_READ = ("call", "Read", '{"file_path": "/a.txt"}')
_READ_JSON = '{"name": "Read", "arguments": {"file_path": "/a.txt"}}'

GENERIC = Family(
    name="generic",
    detect=(),
    calls=(
        HERMES_CALL,
        CallFormat(kind="object", opening="<function_call>", closing="</function_call>"),
        CallFormat(kind="object", opening="<|tool_call|>", closing="<|/tool_call|>"),
        CallFormat(kind="object", opening="```json\n", closing="```"),
        CallFormat(kind="object", opening="```tool_call\n", closing="```"),
        CallFormat(kind="object"),
    ),
    separator="\n",
    samples=(
        Sample(f"<tool_call>\n{_READ_JSON}\n</tool_call>", (_READ,)),
        Sample(_READ_JSON, (_READ,)),
        Sample(f"I read.\n```json\n{_READ_JSON}\n```", (("text", "I read."), _READ)),
        Sample(f"```tool_call\n{_READ_JSON}\n```", (_READ,)),
        Sample(f"<function_call>{_READ_JSON}</function_call>", (_READ,)),
        Sample('{"tool": "Read", "input": {"file_path": "/a.txt"}}', (_READ,)),
        Sample('{"name": "Read", "file_path": "/a.txt"}', (_READ,)),
        Sample(
            'Like so:\n```json\n{"a": 1}\n```\nDone.',
            (("text", "Like so:"), ("error", '\n```json\n{"a": 1}\n```'), ("text", "\nDone.")),
        ),
    ),
)
