"""Any other model: JSON in tags, in a fence or without a marker, and markers of a few more models.

Models whose template does not support tools are asked to call in the first of these formats.
"""

from __future__ import annotations

from plugway_toolcalls._families._base import CallFormat, Family, Sample
from plugway_toolcalls._families.hermes import HERMES_CALL

_READ = ("call", "Read", '{"file_path": "/a.txt"}')
_READ_JSON = '{"name": "Read", "arguments": {"file_path": "/a.txt"}}'

GENERIC = Family(
    name="generic",
    detect=(),
    calls=(
        HERMES_CALL,
        CallFormat(kind="object", opening="<function_call>", closing="</function_call>"),
        CallFormat(kind="object", opening="<|tool_call|>", closing="<|/tool_call|>"),
        CallFormat(kind="object", opening="<tool_calls>", closing="</tool_calls>"),
        CallFormat(kind="object", opening="<|START_ACTION|>", closing="<|END_ACTION|>"),
        CallFormat(kind="python", opening="<|tool_call_start|>", closing="<|tool_call_end|>"),
        CallFormat(kind="object", opening="<|action_start|><|plugin|>", closing="<|action_end|>"),
        CallFormat(kind="object", opening="```json\n", closing="```"),
        CallFormat(kind="object", opening="```tool_call\n", closing="```"),
        CallFormat(kind="object"),
    ),
    reasoning=(("<think>", "</think>"), ("<|START_THINKING|>", "<|END_THINKING|>")),
    noise=("<|START_RESPONSE|>", "<|END_RESPONSE|>"),
    separator="\n",
    samples=(
        Sample(f"<tool_call>\n{_READ_JSON}\n</tool_call>", (_READ,)),
        Sample(_READ_JSON, (_READ,)),
        Sample(f"I read.\n```json\n{_READ_JSON}\n```", (("text", "I read."), _READ)),
        Sample(f"```tool_call\n{_READ_JSON}\n```", (_READ,)),
        Sample(f"<function_call>{_READ_JSON}</function_call>", (_READ,)),
        # MiniMax M1 (one object per line), Command R7B and LFM2.
        Sample(
            f"<tool_calls>\n{_READ_JSON}\n{_READ_JSON}\n</tool_calls>",
            (_READ, _READ),
        ),
        Sample(
            "<|START_THINKING|>Hm.<|END_THINKING|><|START_ACTION|>[\n"
            '    {"tool_call_id": "0", "tool_name": "Read", '
            '"parameters": {"file_path": "/a.txt"}}\n'
            "]<|END_ACTION|>",
            (("thinking", "Hm."), _READ),
        ),
        # InternLM 2.5 and 3.
        Sample(f"<|action_start|><|plugin|>\n{_READ_JSON}<|action_end|>", (_READ,)),
        Sample('<|tool_call_start|>[Read(file_path="/a.txt")]<|tool_call_end|>', (_READ,)),
        Sample(
            '<|tool_call_start|>[Bash(command="a\\nb", timeout=null)]<|tool_call_end|>',
            (("call", "Bash", '{"command": "a\\nb", "timeout": null}'),),
        ),
        Sample('{"tool": "Read", "input": {"file_path": "/a.txt"}}', (_READ,)),
        Sample('{"name": "Read", "file_path": "/a.txt"}', (_READ,)),
        Sample(
            'Like so:\n```json\n{"a": 1}\n```\nDone.',
            (("text", "Like so:"), ("error", '\n```json\n{"a": 1}\n```'), ("text", "\nDone.")),
        ),
    ),
)
