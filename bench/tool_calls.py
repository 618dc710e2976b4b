"""How many of a weak model's tool calls are valid: with and without our grammar and our repair.

    python -m bench.tool_calls                    every family of models, 5 requests each
    python -m bench.tool_calls --count 3 --families hermes,glm
    python -m bench.tool_calls --json

The demo model gets the same seeded requests in each family's format: an example of a call, and
then a request that needs one like it. A reply is valid if it reaches the client with a call of a
tool that is offered, and with arguments that its schema allows. `plain` is what the family's reader
makes of the reply; `grammar` holds the reply to the family's format and the tool's schema while it
is written; `repair` puts `tool-repair` in front, which reads other formats and asks once more;
`both` has both. The replies are greedy, so that a difference between two runs is a change of our
code.

The demo model only knows the format of Hermes and three tools, so the column `plain` is low: it
shows what the other three add. Takes some minutes on two cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import llama_cpp
import numpy as np

import plugway_demo_model as demo
from plugway import (
    Attempt,
    Backend,
    MessagesRequest,
    NoOptions,
    Plugin,
    Reply,
    as_list,
    as_object,
    hookimpl,
)
from plugway.testing import build_plugin, gateway
from plugway_local_engine import GrammarTokenizer, TokenMask, ToolChoice, build_constraint
from plugway_tool_repair import ToolRepair
from plugway_toolcalls import (
    FAMILIES,
    Family,
    OutputParser,
    Tool,
    check_arguments,
    write_call,
)
from plugway_toolcalls.testing import as_blocks

MODES = ("plain", "grammar", "repair", "both")
MOST_TOKENS = 200
SEED = 7


# ── the requests ─────────────────────────────────────────────────────────────────────────────


def _tool(name: str, properties: Mapping[str, Any], *required: str) -> Tool:
    schema = {"type": "object", "properties": dict(properties), "required": list(required)}
    return Tool(name, "", {**schema, "additionalProperties": False})


TEXT, NUMBER = {"type": "string"}, {"type": "integer", "minimum": 0, "maximum": 99}
LANE = {"enum": ["todo", "doing", "done"]}
CARD = {"type": "object", "properties": {"id": NUMBER, "lane": LANE}, "required": ["id", "lane"]}
TOOLS = (
    _tool("Write", {"file_path": TEXT, "content": TEXT}, "file_path", "content"),
    _tool("Read", {"file_path": TEXT}, "file_path"),
    _tool("set_alarm", {"hour": NUMBER, "label": TEXT, "loud": {"type": "boolean"}}, "hour"),
    _tool("find", {"words": {"type": "array", "items": TEXT}, "most": NUMBER}, "words"),
    _tool("move_card", {"card": CARD, "note": TEXT}, "card"),
)
FILES = ("hello.txt", "notes.md", "todo.txt", "plan.md", "data.csv", "list.txt")
TEXTS = ("hi", "good morning", "buy milk", "nothing new", "remember the meeting", "see you")


@dataclass(frozen=True)
class Case:
    """A request that needs one call, and an example of such a request with its call."""

    tool: Tool
    words: str
    shown: str
    arguments: Mapping[str, Any]


def _asked(tool: Tool, chance: random.Random) -> tuple[str, dict[str, Any]]:
    """Words of a request, and the arguments that it needs."""
    file, text, number = chance.choice(FILES), chance.choice(TEXTS), chance.randrange(24)
    match tool.name:
        case "Write":
            return f"create {file} with the text {text}", {"file_path": file, "content": text}
        case "Read":
            return f"show me {file}", {"file_path": file}
        case "set_alarm":
            words = f"set an alarm at {number} called {text}"
            return words, {"hour": number, "label": text, "loud": number > 12}
        case "find":
            return f"find the words {text}", {"words": text.split(), "most": number}
        case _:
            lane = chance.choice(LANE["enum"])
            card = {"id": number, "lane": lane}
            return f"move the card {number} to {lane}", {"card": card, "note": text}


def cases(count: int, seed: int = SEED) -> list[Case]:
    """So many requests, each tool in turn."""
    chance, found = random.Random(seed), list[Case]()
    for number in range(count):
        tool = TOOLS[number % len(TOOLS)]
        shown, arguments = _asked(tool, chance)
        found.append(Case(tool, _asked(tool, chance)[0], shown, arguments))
    return found


# ── the engine ───────────────────────────────────────────────────────────────────────────────


class Engine:
    """The demo model; greedy, under a mask or without."""

    def __init__(self) -> None:
        self._llm = llama_cpp.Llama(
            str(demo.model_path()),
            n_ctx=4096,
            n_batch=512,
            n_threads=1,  # the model is so small that a second one only waits
            n_threads_batch=1,
            swa_full=False,
            verbose=False,
        )
        self._written: dict[tuple[str, str], tuple[str, bool]] = {}
        self.tokenizer = GrammarTokenizer.of_llama_cpp(self._llm._model.vocab)

    def written(self, prompt: str, grammar: str, mask: TokenMask | None) -> tuple[str, bool]:
        """The reply to a prompt, and whether it was cut off; `grammar` names the mask. A reply is
        written once for the modes that share it."""
        key = prompt, grammar
        if key not in self._written:
            self._written[key] = self._write(prompt, mask)
        return self._written[key]

    def _write(self, prompt: str, mask: TokenMask | None) -> tuple[str, bool]:
        llm, made = self._llm, list[int]()
        tokens = llm.tokenize(prompt.encode(), add_bos=False, special=True)
        masked = [lambda _, scores: _allowed(mask, scores)] if mask is not None else []
        processors = llama_cpp.LogitsProcessorList(masked)
        cut = True
        for token in llm.generate(
            tokens, temp=0.0, repeat_penalty=1.0, logits_processor=processors or None
        ):
            if token == llm.token_eos():
                cut = False
                break
            made.append(token)
            if mask is not None and mask.accept(token) and mask.stopped:
                cut = False
                break
            if len(made) == MOST_TOKENS:
                break
        return llm.detokenize(made, special=True).decode("utf-8", "replace"), cut


def _allowed(mask: TokenMask, scores: Any) -> Any:
    scores = np.ascontiguousarray(scores, dtype=np.float32)
    mask.apply(scores)
    return scores


@dataclass
class Format(Backend):
    """A backend whose model speaks one family's format."""

    engine: Engine
    family: Family
    held: bool
    """Whether the grammar holds."""
    name: str = "engine"
    zone: str = "local"

    async def send(self, request: MessagesRequest, attempt: Attempt) -> Reply:
        """The model's reply, read as the engines that run inside Plugway read theirs."""
        tools = [
            Tool(tool["name"], "", tool["input_schema"]) for tool in as_list(request.body["tools"])
        ]
        mask = None
        if self.held:
            constraint = build_constraint(self.family, tools, ToolChoice("any", "", False))
            mask = constraint.whole(self.engine.tokenizer)
        prompt = self.prompt(as_list(request.body["messages"]))
        grammar = f"{self.family.name} {tools[0].name}" if self.held else ""
        text, cut = self.engine.written(prompt, grammar, mask)
        parser = OutputParser(self.family, tools)
        blocks = as_blocks([*parser.feed(text), *parser.finish(cut=cut)])
        content = [_block(number, block) for number, block in enumerate(blocks)]
        called = any(block["type"] == "tool_use" for block in content)
        return Reply.message(
            {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "model": attempt.model,
                "content": content,
                "stop_reason": "max_tokens" if cut else "tool_use" if called else "end_turn",
                "stop_sequence": None,
                "usage": {"input_tokens": 1, "output_tokens": 1},
            }
        )

    def prompt(self, messages: Sequence[Any]) -> str:
        """The conversation as the demo model knows it, calls in the family's format."""
        parts: list[str] = []
        for message in messages:
            content = message["content"]
            blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
            text = "".join(self._said(as_object(block)) for block in blocks)
            hint = f"\n<|user|>{text}" if message["role"] == "user" else ""
            parts.append(f"<|im_start|>{message['role']}\n{text}{hint}<|im_end|>\n")
        return "".join(parts) + "<|im_start|>assistant\n"

    def _said(self, block: Mapping[str, Any]) -> str:
        match block["type"]:
            case "text":
                return block["text"]
            case "tool_use":
                opening, closing = self.family.section
                schema = next(tool.schema for tool in TOOLS if tool.name == block["name"])
                call = write_call(self.family, block["name"], block["input"], schema)
                return f"{opening}{call}{closing}"
            case _:
                return "Done."


def _block(number: int, block: tuple[Any, ...]) -> dict[str, Any]:
    if block[0] == "call":
        return {"type": "tool_use", "id": f"toolu_{number}", "name": block[1], "input": block[2]}
    return {"type": "text", "text": block[1]}


class Engines(Plugin[NoOptions]):
    """Registers the backend of one run."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(NoOptions(), name="engine")
        self._backend = backend

    @hookimpl
    def register_backends(self) -> Sequence[Backend]:
        """The backend."""
        return [self._backend]


# ── the bench ────────────────────────────────────────────────────────────────────────────────


def body_of(case: Case) -> dict[str, Any]:
    """The request of a client."""
    call = {"type": "tool_use", "id": "toolu_0", "name": case.tool.name}
    result = {"type": "tool_result", "tool_use_id": "toolu_0", "content": "Done."}
    tool = {"name": case.tool.name, "description": "", "input_schema": case.tool.schema}
    return {
        "model": "demo",
        "max_tokens": MOST_TOKENS,
        "tools": [tool],
        "tool_choice": {"type": "any"},
        "messages": [
            {"role": "user", "content": case.shown},
            {"role": "assistant", "content": [{**call, "input": dict(case.arguments)}]},
            {"role": "user", "content": [result]},
            {"role": "assistant", "content": "Done."},
            {"role": "user", "content": case.words},
        ],
    }


def is_valid(message: Mapping[str, Any], tool: Tool) -> bool:
    """Whether a reply calls the tool, and each call's arguments are what its schema allows."""
    calls = [block for block in as_list(message.get("content")) if block["type"] == "tool_use"]
    return bool(calls) and all(
        call["name"] == tool.name and not check_arguments(tool.schema, call["input"])
        for call in calls
    )


async def valid_calls(engine: Engine, family: Family, mode: str, asked: Sequence[Case]) -> int:
    """How many of the requests get a valid call."""
    plugins: list[Plugin[Any]] = [Engines(Format(engine, family, mode in ("grammar", "both")))]
    if mode in ("repair", "both"):
        plugins.insert(0, build_plugin(ToolRepair, "tool-repair"))
    valid = 0
    async with gateway(plugins) as running:
        for case in asked:
            response = await running.post(body_of(case))
            valid += response.status_code == 200 and is_valid(response.json(), case.tool)
    return valid


async def measured(names: Sequence[str], count: int) -> list[dict[str, Any]]:
    """A row for each family, and their sum."""
    engine, asked, rows = Engine(), cases(count), list[dict[str, Any]]()
    for family in FAMILIES:
        if names and family.name not in names:
            continue
        row: dict[str, Any] = {"family": family.name, "requests": count}
        for mode in MODES:
            row[mode] = await valid_calls(engine, family, mode, asked)
        rows.append(row)
        print_row(row)
    whole = {name: sum(row[name] for row in rows) for name in ("requests", *MODES)}
    return [*rows, {"family": "all", **whole}]


def print_row(row: Mapping[str, Any]) -> None:
    """Percentages, with the counts."""
    most = max(1, row["requests"])
    cells = [f"{row[mode] / most:.0%} ({row[mode]}/{row['requests']})" for mode in MODES]
    line = f"{row['family']:16}" + "".join(f"{cell:>16}" for cell in cells)
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=5, help="requests for each family and mode")
    parser.add_argument("--families", default="", help="names of families, with commas")
    parser.add_argument("--json", action="store_true", help="print the counts as JSON")
    options = parser.parse_args()
    names = [name for name in options.families.split(",") if name]
    unknown = set(names) - {family.name for family in FAMILIES}
    if unknown:
        parser.error(f"unknown family: {', '.join(sorted(unknown))}")
    began = time.perf_counter()
    print(f"{'family':16}" + "".join(f"{mode:>16}" for mode in MODES), file=sys.stderr)
    rows = asyncio.run(measured(names, options.count))
    print_row(rows[-1])
    print(f"{time.perf_counter() - began:.0f} s", file=sys.stderr)
    if options.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
