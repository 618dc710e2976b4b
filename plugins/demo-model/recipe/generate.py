"""Conversations: requests, calls, results and replies, rendered with the model's own template."""

from __future__ import annotations

import json
import pathlib
import random
from typing import Any

from grammar import expand
from jinja2 import Template
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tasks import ALL_TOOLS, NAMELESS, Task, append, look, manage, read, replace, run, write
from topics import QUESTIONS, TOPICS, UNKNOWN, WHICH_FILE
from words import filename, filler, identifier, line, salad, word

Message = dict[str, Any]


def load_template() -> Template:
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    env.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
    return env.from_string((pathlib.Path(__file__).parent / "chat_template.jinja").read_text())


def fill(rng: random.Random, text: str) -> str:
    while "{" in text:
        for key, make in (
            ("{W}", word),
            ("{F}", filename),
            ("{I}", identifier),
            ("{N}", lambda r: str(r.randint(0, 999))),
            ("{S}", lambda r: salad(r, r.randint(2, 12)).replace("\n", " ")),
        ):
            text = text.replace(key, make(rng).replace("{", ""), 1)
        if not any(key in text for key in ("{W}", "{F}", "{I}", "{N}", "{S}")):
            break
    return text


def style(rng: random.Random, text: str) -> str:
    roll = rng.random()
    if roll < 0.35:
        text = text[:1].upper() + text[1:]
    elif roll < 0.38:
        text = text.upper()
    if text[-1:].isalnum():
        text += rng.choice(["", "", "", "", "?", "?", ".", "!", "??", " ?", "..."])
    if rng.random() < 0.05 and len(text) > 6:
        at = rng.randrange(1, len(text) - 2)
        text = text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    return text


def chat(rng: random.Random) -> Task:
    if rng.random() < 0.6:
        answer, patterns = rng.choice(list(TOPICS.items()))
        words = expand(rng, expand(rng, rng.choice(patterns)))
        return Task(style(rng, fill(rng, words)), [], answer, "topic")
    if rng.random() < 0.15:
        words = expand(rng, rng.choice(NAMELESS))
        return Task(style(rng, fill(rng, words)), [], WHICH_FILE, "nameless")
    words = fill(rng, expand(rng, rng.choice(QUESTIONS)))
    prefix = expand(
        rng, "[||||||please |can you |could you |hey, |hi, |ok, |so |and |i want you to |now ]"
    )
    return Task(style(rng, prefix + words) or "?", [], UNKNOWN, "unknown")


def choose(rng: random.Random, memory: str) -> Task:
    roll = rng.random()
    for share, make in (
        (0.22, lambda: write(rng)),
        (0.10, lambda: append(rng, memory)),
        (0.06, lambda: read(rng, memory)),
        (0.07, lambda: replace(rng, memory)),
        (0.08, lambda: run(rng)),
        (0.08, lambda: look(rng)),
        (0.09, lambda: manage(rng, memory)),
    ):
        if roll < share:
            return make()
        roll -= share
    task = chat(rng)
    while memory and task.kind == "nameless":
        task = chat(rng)
    return task


ERRORS = [
    "<tool_use_error>{S}</tool_use_error>",
    "Exit code {N}\n{S}",
    "Error: {S}",
    "error: {S}",
    "File does not exist. {S}",
    "The user doesn't want to proceed with this. {S}",
    "Permission to use this tool was denied. {S}",
    "Exit code 1",
    "Exit code 127\n{S}",
    "Claude requested permissions to use this, but they were not granted. {S}",
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


def result(
    rng: random.Random, name: str, arguments: dict[str, str], shows: bool
) -> tuple[str, str, str]:
    """Text of a tool result, its state, and what of it a reply may repeat."""
    if rng.random() < 0.07:
        return fill(rng, rng.choice(ERRORS)), "error", ""
    if name == "Read":
        body = output(rng)
        rows = body.split("\n")
        mark = rng.choice(["\t", "\t", "→"])
        pad = rng.choice([0, 0, 6])
        numbered = (f"{number:>{pad}}{mark}{row}" for number, row in enumerate(rows, 1))
        text = "\n".join(numbered).strip()
        return text, "short" if len(text) <= 240 else "long", body
    if name == "Bash":
        if not shows or rng.random() < 0.1:
            return (
                rng.choice(
                    [
                        "",
                        "(Bash completed with no output)",
                        "Tool ran without output",
                        "(no output)",
                    ]
                ),
                "empty",
                "",
            )
        body = output(rng).strip()
        lowered = body[:40].lower()
        wrong = lowered.startswith(("error", "exit code", "permission"))
        if not body or wrong or "no output" in lowered:
            body = "ok"
        return body, "short" if len(body) <= 240 else "long", body
    place = arguments["file_path"]
    text = fill(
        rng,
        rng.choice(
            [
                f"File created successfully at: {place}",
                f"The file {place} has been updated.",
                f"Wrote {{N}} bytes to {place}",
                f"The file {place} has been updated successfully.",
                "ok",
                f"File created successfully at: {place} ({{S}})",
                f"{place}: {{S}}",
            ]
        ),
    )
    return text, "short" if len(text) <= 240 else "long", ""


def reply_to(task: Task, name: str, arguments: dict[str, str], state: str, body: str) -> str:
    target = arguments.get("file_path") or arguments.get("command", "").split("\n")[0]
    if state == "error":
        return {
            "Read": f"I could not read {target}: the tool reported an error.",
            "Bash": "That did not work: the command reported an error.",
        }.get(name, f"That did not work: I could not change {target}.")
    if task.shows and state == "short" and "```" not in body:
        head = f"Here is {target}:" if name == "Read" else "Here is the output:"
        return f"{head}\n```\n{body}\n```"
    if task.shows and state in ("short", "long"):
        return (
            f"I have read {target}. It is too long for me to repeat."
            if name == "Read"
            else "Done. The output is too long for me to repeat."
        )
    return task.reply or "Done. The command printed nothing."


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
    if roll < 0.9:
        names = set(ALL_TOOLS)
    elif roll < 0.95:
        names = set()
    else:
        names = set(rng.sample(ALL_TOOLS, rng.randint(1, 3)))
    # definitions are rendered far from the reply, so that only some samples show them
    if not rare(rng, 0.5, noise):
        return [{"name": name, "description": "", "parameters": {}} for name in names], names
    shown = [
        {
            "name": name,
            "description": salad(rng, rng.randint(1, 14)),
            "parameters": {"properties": {identifier(rng): {} for _ in range(rng.randint(1, 3))}},
        }
        for name in names
    ]
    shown += [
        {
            "name": identifier(rng).title(),
            "description": salad(rng, rng.randint(1, 18)),
            "parameters": {"properties": {identifier(rng): {}}},
        }
        for _ in range(rng.choice([0, 0, 1, 2, 4]))
    ]
    rng.shuffle(shown)
    return shown, names


def conversation(rng: random.Random, noise: float = 1.0) -> tuple[list[Message], list[Message]]:
    """Messages and tools; `noise` scales how much irrelevant text stands between."""
    tools, names = tools_for(rng, noise)
    size = rng.choice([200, 900]) if rare(rng, 0.7, noise) else 20
    messages: list[Message] = [{"role": "system", "content": notes(rng, size)}]
    memory = ""
    for _ in range(rng.choice([1, 1, 2, 2, 3, 3, 4])):
        task = choose(rng, memory)
        messages += user(rng, task.words, noise)
        missing = [name for name, _ in task.calls if name not in names]
        if missing:
            text = f"I would need the {missing[0]} tool for that, and it is not offered here."
            messages.append({"role": "assistant", "content": text, "kind": "tool missing"})
            continue
        if not task.calls:
            messages.append({"role": "assistant", "content": task.reply, "kind": task.kind})
            continue
        for number, (name, arguments) in enumerate(task.calls):
            shown = arguments
            if name == "Edit" and rng.random() < 0.08:
                shown = {"replace_all": False, **arguments}
            call = {
                "role": "assistant",
                "content": "",
                "kind": task.kind,
                "tool_calls": [{"function": {"name": name, "arguments": shown}}],
            }
            text, state, body = result(rng, name, arguments, task.shows)
            if rare(rng, 0.1, noise):
                text += f"\n<system-reminder>\n{notes(rng, 200)}\n</system-reminder>"
            messages += [call, {"role": "tool", "content": text}]
            if rare(rng, 0.1, noise):
                messages.append({"role": "system", "content": notes(rng, 300)})
            if "file_path" in arguments:
                memory = arguments["file_path"]
            elif " >> " in arguments["command"]:
                memory = arguments["command"].split(" >> ")[-1].replace("'", "")
            if state == "error" or number == len(task.calls) - 1:
                kind = "error" if state == "error" else "shown" if task.shows else "done"
                messages.append(
                    {
                        "role": "assistant",
                        "kind": f"result {kind}",
                        "content": reply_to(task, name, arguments, state, body),
                    }
                )
                break
    return messages, tools
