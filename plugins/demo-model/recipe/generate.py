"""Conversations: requests, calls, results and replies, rendered with the model's own template."""

from __future__ import annotations

import json
import pathlib
import random
from typing import Any

from jinja2 import Template
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tasks import ALL_TOOLS, Task, choose
from topics import UNKNOWN
from words import filename, filler, identifier, line, salad, word

Message = dict[str, Any]


def load_template() -> Template:
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    env.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
    return env.from_string((pathlib.Path(__file__).parent / "chat_template.jinja").read_text())


ERRORS = [
    "<tool_use_error>{}</tool_use_error>",
    "Exit code 1\n{}",
    "Error: {}",
    "[tool error] {}",
    "File does not exist. {}",
    "The user doesn't want to proceed with this. {}",
    "Permission to use this tool was denied. {}",
    "Claude requested permissions to use this, but they were not granted. {}",
]
EMPTY = ["", "(Bash completed with no output)", "Tool ran without output", "(no output)"]
WRITTEN = [
    "File created successfully at: {}",
    "The file {} has been updated.",
    "Wrote 12 bytes to {}",
    "File created successfully at: {} (file state is current in your context)",
]


def output(rng: random.Random) -> str:
    """What a command may print or a file may hold."""
    roll = rng.random()
    size = rng.randint(1, 5) if rng.random() < 0.9 else rng.randint(6, 30)
    if roll < 0.4:
        return "\n".join(filename(rng) for _ in range(size))
    if roll < 0.75:
        return "\n".join(line(rng) for _ in range(min(size, 12)))
    if roll < 0.85:
        return "\n".join(
            f"-rw-r--r-- 1 {word(rng)} {word(rng)} {rng.randint(0, 99999)} "
            f"Nov {rng.randint(1, 30)} 1{rng.randint(0, 9)}:{rng.randint(10, 59)} "
            f"{filename(rng)}"
            for _ in range(size)
        )
    if roll < 0.95:
        return line(rng)
    return filler(rng, rng.randint(20, 900)).strip() or "x"


def result(rng: random.Random, name: str, target: str) -> tuple[str, str, str]:
    """Text of a tool result, its state, and what of it a reply may repeat."""
    if rng.random() < 0.1:
        return rng.choice(ERRORS).format(salad(rng, rng.randint(1, 12))), "error", ""
    if name == "Write":
        return rng.choice(WRITTEN).format(target), "short", ""
    if name == "Bash":
        return rng.choice(EMPTY), "empty", ""
    if rng.random() < 0.06:
        return "", "empty", ""
    body = output(rng)
    rows = body.split("\n")
    mark, pad = rng.choice(["\t", "\t", "→"]), rng.choice([0, 0, 6])
    text = "\n".join(f"{number:>{pad}}{mark}{row}" for number, row in enumerate(rows, 1)).strip()
    return text, "short" if len(text) <= 240 else "long", body


def reply_to(task: Task, name: str, target: str, state: str, body: str) -> str:
    if state == "error":
        return {
            "Read": f"I could not read {target}: the tool reported an error.",
            "Bash": "That did not work: the command reported an error.",
            "Write": f"That did not work: I could not create {target}.",
        }[name]
    if name != "Read":
        return task.reply
    if state == "empty":
        return f"{target} is empty."
    if state == "short" and "```" not in body:
        return f"Here is {target}:\n```\n{body}\n```"
    return f"I have read {target}. It is too long for me to repeat."


def rare(rng: random.Random, share: float, noise: float) -> bool:
    return rng.random() < share * noise


def notes(rng: random.Random, most: int) -> str:
    return filler(rng, rng.randint(10, most)).replace("<|", "< |")


def user(rng: random.Random, text: str, noise: float) -> list[Message]:
    """The user's message, sometimes with reminder blocks or system turns around it."""
    messages: list[Message] = [{"role": "user", "content": text}]
    if rare(rng, 0.3, noise):
        block = f"<system-reminder>\n{notes(rng, 500)}\n</system-reminder>\n"
        messages[0]["content"] = block + text if rng.random() < 0.6 else text + "\n" + block
    if rare(rng, 0.2, noise):
        messages.append({"role": "system", "content": notes(rng, 700)})
    return messages


def tools_for(rng: random.Random, noise: float) -> tuple[list[Message], set[str]]:
    roll = rng.random()
    if roll < 0.94:
        names = set(ALL_TOOLS)
    elif roll < 0.96:
        names = set()
    else:
        names = set(rng.sample(ALL_TOOLS, rng.randint(1, 2)))
    # definitions are rendered far from the reply, so that only some samples show them
    if not rare(rng, 0.5, noise):
        return [{"name": name, "description": "", "parameters": {}} for name in names], names
    shown = [
        {
            "name": name,
            "description": salad(rng, rng.randint(1, 14)),
            "parameters": {"properties": {identifier(rng): {} for _ in range(rng.randint(1, 3))}},
        }
        for name in [*names, *(identifier(rng).title() for _ in range(rng.choice([0, 0, 1, 2, 4])))]
    ]
    rng.shuffle(shown)
    return shown, names


def called(name: str, arguments: dict[str, str], kind: str) -> Message:
    calls = [{"function": {"name": name, "arguments": arguments}}]
    return {"role": "assistant", "content": "", "kind": kind, "tool_calls": calls}


def foreign(rng: random.Random) -> list[Message]:
    """What another model did before this one took over: its call, and a result to answer."""
    return [
        called(identifier(rng).title(), {identifier(rng): word(rng)}, "foreign"),
        {"role": "tool", "content": output(rng)},
        {"role": "assistant", "content": UNKNOWN, "kind": "result unknown"},
    ]


def conversation(rng: random.Random, noise: float = 1.0) -> tuple[list[Message], list[Message]]:
    """Messages and tools; `noise` scales how much irrelevant text stands between."""
    tools, names = tools_for(rng, noise)
    size = rng.choice([200, 900]) if rare(rng, 0.7, noise) else 20
    messages: list[Message] = [{"role": "system", "content": notes(rng, size)}]
    memory, known = "", set[str]()
    for _ in range(rng.choice([1, 1, 2, 2, 3, 3, 4])):
        task = choose(rng, memory)
        messages += user(rng, task.words, noise)
        if task.kind == "unknown" and rng.random() < 0.12:
            messages += foreign(rng)
            continue
        if task.call is None:
            messages.append({"role": "assistant", "content": task.reply, "kind": task.kind})
            continue
        name, arguments = task.call
        target = arguments.get("file_path") or arguments["command"].split(" >> ")[-1]
        if name not in names:
            text = f"I would need the {name} tool for that, and it is not offered here."
            messages.append({"role": "assistant", "content": text, "kind": "tool missing"})
            continue
        if name == "Write" and any(f"/{one}".endswith(f"/{target.lower()}") for one in known):
            messages.append({"role": "assistant", "content": UNKNOWN, "kind": "file known"})
            continue
        memory = target
        text, state, body = result(rng, name, target)
        (known.discard if (name, state) == ("Read", "error") else known.add)(target.lower())
        if rare(rng, 0.1, noise):
            text += f"\n<system-reminder>\n{notes(rng, 200)}\n</system-reminder>"
        messages += [called(name, arguments, task.kind), {"role": "tool", "content": text}]
        if rare(rng, 0.1, noise):
            messages.append({"role": "system", "content": notes(rng, 300)})
        said = reply_to(task, name, target, state, body)
        messages.append({"role": "assistant", "content": said, "kind": f"result {state}"})
    return messages, tools
