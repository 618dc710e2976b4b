"""gpt-oss: the Harmony format, in which headers route text to channels.

Sources: OpenAI's page on the Harmony response format, chat template of gpt-oss.
"""

from __future__ import annotations

from plugway_toolcalls._families._base import CallFormat, Family, Header, Sample, Shape

_READ = ("call", "Read", '{"file_path": "/a.txt"}')
_THINK = "<|channel|>analysis<|message|>Need a file.<|end|>"
_TO_READ = "commentary to=functions.Read <|constrain|>json<|message|>"

HARMONY = Family(
    name="harmony",
    detect=(("<|channel|>", "<|message|>"),),
    calls=(
        CallFormat(
            kind="arguments",
            opening="<|channel|>commentary to=functions.",
            closing="<|call|>",
            head=r"(?P<name>[^\s<]+)\s*(?:<\|constrain\|>\w+|json)?\s*<\|message\|>\s*",
            shape=Shape(before="", between=" <|constrain|>json<|message|>", after="<|call|>"),
        ),
    ),
    reasoning=(),
    stops=("<|call|>", "<|return|>", "<|end|>"),
    separator="<|start|>assistant",
    header=Header(
        openings=("<|channel|>", "<|start|>"),
        end="<|message|>",
        call=r"to=(?:functions\.)?(?P<name>[\w.-]+)",
        thinking=r"\banalysis\b",
        closing="<|call|>",
        begins=("to=",),
    ),
    samples=(
        Sample(f"<|channel|>{_TO_READ}" + '{"file_path": "/a.txt"}<|call|>', (_READ,)),
        Sample(
            f"{_THINK}<|start|>assistant<|channel|>{_TO_READ}" + '{"file_path":"/a.txt"}<|call|>',
            (("thinking", "Need a file."), _READ),
        ),
        Sample(
            f"{_THINK}<|start|>assistant<|channel|>final<|message|>Hi.<|return|>",
            (("thinking", "Need a file."), ("text", "Hi.")),
        ),
        # The recipient in the role, as the template writes it in the history.
        Sample(
            "<|start|>assistant to=functions.Read<|channel|>commentary json<|message|>"
            '{"file_path": "/a.txt"}<|call|>',
            (_READ,),
        ),
        Sample(
            "<|channel|>commentary<|message|>I read it now.<|end|><|start|>assistant"
            f"<|channel|>{_TO_READ}" + '{"file_path": "/a.txt"}',
            (("text", "I read it now."), _READ),
        ),
        Sample(
            '<|channel|>analysis to=functions.Read code<|message|>{"file_path": "/a.txt"}<|call|>',
            (_READ,),
        ),
        Sample("Plain words.", (("text", "Plain words."),)),
        Sample(
            "<|channel|>commentary to=functions.Fly json<|message|>{}<|call|>",
            (("error", "<|channel|>commentary to=functions.Fly json<|message|>{}<|call|>"),),
        ),
    ),
)
