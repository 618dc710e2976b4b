"""What the model can do: requests, the one call that each needs, and the replies to results."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from grammar import expand
from topics import TOPICS, UNKNOWN, WHICH_FILE
from words import command, directory, filename, identifier, line, salad, word

Call = tuple[str, dict[str, str]]
ALL_TOOLS = ("Read", "Write", "Bash")
QUOTES = ('"', "'", "`")
POLITE = "[|||||please |can you |could you please |hey, |now |ok, |so |Then |and |would you |hey can you ]"
# {0} is the file, {1} the text
CREATE = [
    "[create|make|write] [|a file |the file |a new file |file |a text file ][|called |named ]{0} "
    "[with the text|with text|with the content|with content|containing the text|that says|saying|"
    "which says|with the words|with the word|that reads|with the line][|:] {1}"
]
CREATE_QUOTED = ["[create|make|write] [|a file |a file called ]{0} [with|containing] {1}"]
EMPTY = ["create [|a file |the file |a new file |a file called |a file named ]{0}"]
APPEND = [
    "[append|add] [a|another|one more|a new] line [saying|with the text|that says|containing the text] "
    "{1} to [|the file |file ]{0}",
    "[append|add] a line: {1} to {0}",
]
APPEND_QUOTED = ["[append|add] [|the line |a line |the text ]{1} [to|to the file] {0}"]
APPEND_IT = [
    "[append|add] [a|another|one more] line [saying|with the text|that says] {1}[| to it| to the file]",
    "[append|add] a line: {1}",
]
APPEND_ANY = ["[append|add] [a|another|one more|a new] line [to|in] [|the file ]{0}"]
APPEND_ANY_IT = ["[append|add] [a|another|one more|a new] line[| to it| to the file]"]
SHOW = [
    "[show|show me|read|open|display|print|cat|view] [|the file |the content of |the contents of ]{0}",
    "[what is|what's] in {0}",
]
SHOW_IT = [
    "[show|show me|read|open|display|print|view] [it|the file|that file|the file again]",
    "[what is|what's] in [it|the file]",
]


@dataclass
class Task:
    """A request and the call that it needs, if any; `reply` is said without one, or after it."""

    words: str
    call: Call | None = None
    reply: str = ""
    kind: str = ""


def ordinary_name(rng: random.Random) -> str:
    """The name of a file below the working folder, as the template takes it."""
    while True:
        name = filename(rng)
        parts = name.split("/")
        bad = set(name) & set("~$*?()<>|&;:!{}[]#%=,@^\"'`\\ ")
        plain = all(p and not p.startswith((".", "-")) and ".." not in p for p in parts)
        if plain and not bad and "." in name and len(name) <= 60:
            return name


def ordinary_text(rng: random.Random, *, single_quoted: bool = False) -> str:
    """A text as the template carries it; `single_quoted`: it can stand in a shell's quotes."""
    while True:
        text = line(rng).strip()
        shell = "'" not in text or not set(text) & set('"$`!')
        odd = set(text) & set("\\“”\u2019\n") or "<|" in text or set(QUOTES) <= set(text)
        if 0 < len(text) <= 100 and not odd and (shell or not single_quoted):
            return text


def shown_text(rng: random.Random, text: str, *, quoted: bool) -> str:
    """The text bare where that is unambiguous, else quoted."""
    spoken = text.lower().split()
    stop = {
        "then",
        "delete",
        "remove",
        "run",
        "rm",
        "overwrite",
        "commit",
        "push",
        "please",
        "|",
        "&&",
        ";",
        "to",
    }
    clean = {part.strip(".,!?;:\"'`") for part in spoken} | set(spoken)
    bare = not (
        stop & clean or text[0] in "\"'`" or text.endswith((".", ",", " please")) or "  " in text
        or spoken[0] in ("of", "from", "in", ":")
    )  # fmt: skip
    if bare and not quoted and rng.random() < 0.7:
        return text
    mark = rng.choice([mark for mark in QUOTES if mark not in text])
    return f"{mark}{text}{mark}"


def speak(
    rng: random.Random, pattern: str, name: str = "", text: str = "", *, polite: bool = True
) -> str:
    """One wording of a pattern, in any capitals, with a file and a text put in."""
    words = (expand(rng, POLITE) if polite else "") + expand(rng, pattern)
    roll = rng.random()
    if roll < 0.3:
        words = words[0].upper() + words[1:]
    elif roll < 0.4:
        words = words.upper()
    elif roll < 0.45:
        words = "".join(rng.choice((c.upper(), c.lower())) for c in words)
    last = words.endswith("{1}")
    mark = rng.choice(("", "", "", '"', "'", "`")) if name else ""
    words = words.replace("{0}", f"{mark}{name}{mark}").replace("{1}", text)
    if not last:
        words += rng.choice(("", "", "", "", ".", "!", "?", " please", ", please.", "?!"))
    return words


def append_command(text: str, name: str) -> str:
    mark = '"' if "'" in text else "'"
    return f"printf '\\n%s' {mark}{text}{mark} >> {name}"


def create(rng: random.Random) -> Task:
    name = ordinary_name(rng)
    reply = f"Done: I created {name}."
    if rng.random() < 0.12:
        words = speak(rng, rng.choice(EMPTY), name)
        return Task(words, ("Write", {"file_path": name, "content": ""}), reply, "create empty")
    text = ordinary_text(rng)
    quoted = rng.random() < 0.2
    pattern = rng.choice(CREATE_QUOTED if quoted else CREATE)
    words = speak(rng, pattern, name, shown_text(rng, text, quoted=quoted))
    return Task(words, ("Write", {"file_path": name, "content": text}), reply, "create")


def append(rng: random.Random, memory: str) -> Task:
    it = bool(memory) and rng.random() < 0.5
    name = memory if it else ordinary_name(rng)
    if rng.random() < 0.3:
        text = "another line"
        words = speak(rng, rng.choice(APPEND_ANY_IT if it else APPEND_ANY), "" if it else name)
    else:
        text = ordinary_text(rng, single_quoted=True)
        quoted = not it and rng.random() < 0.3
        pattern = rng.choice(APPEND_IT if it else APPEND_QUOTED if quoted else APPEND)
        words = speak(rng, pattern, "" if it else name, shown_text(rng, text, quoted=quoted))
    call = ("Bash", {"command": append_command(text, name), "description": "Append a line"})
    return Task(words, call, f"Done: I appended a line to {name}.", "append")


def show(rng: random.Random, memory: str) -> Task:
    if memory and rng.random() < 0.5:
        words, name = speak(rng, rng.choice(SHOW_IT)), memory
    else:
        name = ordinary_name(rng)
        words = speak(rng, rng.choice(SHOW), name)
    return Task(words, ("Read", {"file_path": name}), "", "show")


def talk(rng: random.Random) -> Task:
    answer, sentences = rng.choice(list(TOPICS.items()))
    return Task(speak(rng, rng.choice(sentences), polite=False), None, answer, "topic")


def nameless(rng: random.Random) -> Task:
    pattern = rng.choice(SHOW_IT + APPEND_ANY_IT + APPEND_IT)
    text = shown_text(rng, ordinary_text(rng, single_quoted=True), quoted=False)
    return Task(speak(rng, pattern, text=text), None, WHICH_FILE, "nameless")


UNKNOWN_FORMS: list[Callable[[random.Random], str]] = [
    lambda r: salad(r, r.randint(2, 14)),
    lambda r: salad(r, r.randint(20, 60)),
    lambda r: "run " + command(r),
    lambda r: command(r),
    lambda r: f"delete {filename(r)}",
    lambda r: f"{r.choice(('remove', 'rename', 'move', 'copy', 'fix', 'edit'))} {filename(r)}",
    lambda r: f"{r.choice(('git', 'npm', 'docker', 'cargo'))} {word(r)}",
    lambda r: f"replace {word(r)} with {word(r)} in {filename(r)}",
    lambda r: f"{r.choice(('what', 'why', 'how', 'when'))} {salad(r, r.randint(2, 9))}",
    lambda r: f"create ../{filename(r)} with the text {word(r)}",
    lambda r: f"create .{word(r)}.txt with the text {line(r)}",
    lambda r: f"append a line to /{directory(r).strip('/')}/{filename(r)}",
    lambda r: f"create {ordinary_name(r)} and {r.choice(('run', 'test', 'open'))} it",
    lambda r: f"show me {ordinary_name(r)} and {salad(r, 3)}",
    lambda r: f"create {ordinary_name(r)} with the text {word(r)}\n{salad(r, 5)}",
    lambda r: f"do not create {ordinary_name(r)} with the text {word(r)}",
    lambda r: f"implement {identifier(r)} in {filename(r)}",
]


def unknown(rng: random.Random) -> Task:
    words = "cat"
    while words.startswith("cat"):
        words = rng.choice(UNKNOWN_FORMS)(rng).replace("<|", "< |")
    return Task(words, None, UNKNOWN, "unknown")


def choose(rng: random.Random, memory: str) -> Task:
    roll = rng.random()
    if roll < 0.27:
        return create(rng)
    if roll < 0.5:
        return append(rng, memory)
    if roll < 0.66:
        return show(rng, memory)
    if roll < 0.8:
        return talk(rng)
    if roll < 0.82 and not memory:
        return nameless(rng)
    return unknown(rng)
