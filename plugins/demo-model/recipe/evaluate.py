"""Exact-match rates of a GGUF file on held-out prompts, greedy, with llama.cpp."""

from __future__ import annotations

import argparse
import json
import pathlib
import random
from collections import defaultdict
from typing import Any

from generate import Message, conversation, load_template
from heldout import prompts
from llama_cpp import Llama
from topics import UNKNOWN

TOOLS = [
    {"name": name, "description": "", "parameters": {}}
    for name in ("Bash", "Edit", "Glob", "Grep", "Read", "Task", "Write")
]


class Runner:
    def __init__(self, path: pathlib.Path, threads: int, context: int = 4096) -> None:
        self.llm = Llama(
            str(path),
            n_ctx=context,
            n_batch=512,
            n_threads=threads,
            n_threads_batch=threads,
            swa_full=False,
            verbose=False,
        )
        self.template = load_template()

    def __call__(self, messages: list[Message], tools: list[Message]) -> str:
        text = self.template.render(messages=messages, tools=tools, add_generation_prompt=True)
        tokens = self.llm.tokenize(text.encode(), add_bos=False, special=True)
        self.llm.reset()
        self.llm._ctx.kv_cache_clear()
        made: list[int] = []
        for token in self.llm.generate(tokens, temp=0.0, repeat_penalty=1.0, reset=True):
            if token == self.llm.token_eos() or len(made) >= 400:
                break
            made.append(token)
        return self.llm.detokenize(made, special=True).decode("utf-8", "replace")


def expected_text(message: Message) -> str:
    calls = message.get("tool_calls")
    if not calls:
        return str(message["content"])
    call = calls[0]["function"]
    body = json.dumps({"name": call["name"], "arguments": call["arguments"]}, ensure_ascii=False)
    return f"<tool_call>\n{body}\n</tool_call>"


def parse(text: str) -> tuple[str, dict[str, Any]] | None:
    try:
        body = json.loads(text.split("<tool_call>\n", 1)[1].split("\n</tool_call>")[0])
        return body["name"], body["arguments"]
    except (IndexError, ValueError, KeyError):
        return None


def same(made: str, wanted: str) -> bool:
    """Equal, except for the description of a command and an Edit's default flag."""
    one, two = parse(made), parse(wanted)
    if two is None or one is None:
        return made == wanted
    drop = ("description", "replace_all")
    return one[0] == two[0] and {k: v for k, v in one[1].items() if k not in drop} == {
        k: v for k, v in two[1].items() if k not in drop
    }


def everyday(run: Runner, count: int, seed: int) -> list[tuple[str, str, str, bool]]:
    return [
        ("everyday", words, made, made == UNKNOWN)
        for words in prompts(count, seed)
        for made in [run([{"role": "user", "content": words}], TOOLS)]
    ]


def generated(run: Runner, count: int, rng: random.Random) -> list[tuple[str, str, str, bool]]:
    rows = []
    for _ in range(count):
        messages, tools = conversation(rng)
        last = ""
        for number, message in enumerate(messages):
            if message["role"] == "user":
                last = message["content"].split("</system-reminder>")[-1].strip()
            if message["role"] == "assistant":
                made, wanted = run(messages[:number], tools), expected_text(message)
                rows.append(
                    (message["kind"], f"{last}\n    want {wanted}", made, same(made, wanted))
                )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--count", type=int, default=100, help="of each kind")
    parser.add_argument("--seed", type=int, default=987_654_321)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--show", type=int, default=40, help="failures to print")
    options = parser.parse_args()
    run, rng = Runner(options.model, options.threads), random.Random(options.seed)
    for title, rows in (
        ("held out", everyday(run, options.count, options.seed)),
        ("generated", generated(run, options.count, rng)),
    ):
        total: dict[str, list[bool]] = defaultdict(list)
        for kind, words, made, right in rows:
            total[kind].append(right)
            if not right and sum(not r for k in total.values() for r in k) <= options.show:
                print(
                    f"  - {kind}: {words!r}\n    made {made!r}".replace("\\n    want", "\n    want")
                )
        rates = [f"{kind} {sum(r)}/{len(r)}" for kind, r in sorted(total.items())]
        print(f"{title}:", ", ".join(rates))
        every = [r for k in total.values() for r in k]
        print(f"{title} total {sum(every)}/{len(every)} = {sum(every) / max(1, len(every)):.3f}")


if __name__ == "__main__":
    main()
