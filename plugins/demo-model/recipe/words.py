"""Random raw material: words, names, texts, commands and irrelevant filler."""

from __future__ import annotations

import functools
import json
import pathlib
import random
import re
import string
import sysconfig

EXTENSIONS = [
    "txt",
    "txt",
    "txt",
    "md",
    "md",
    "py",
    "py",
    "js",
    "ts",
    "json",
    "yaml",
    "yml",
    "toml",
    "sh",
    "html",
    "css",
    "csv",
    "log",
    "ini",
    "cfg",
    "rs",
    "go",
    "c",
    "h",
    "java",
    "rb",
    "php",
    "sql",
    "xml",
    "env",
    "conf",
    "rst",
    "tex",
    "tsx",
    "jsx",
    "kt",
    "lua",
    "dat",
    "bak",
    "tmp",
]
COMMON_FILES = [
    "hello.txt",
    "notes.md",
    "README.md",
    "test.py",
    "main.py",
    "index.html",
    "todo.txt",
    "a.py",
    "b.txt",
    "x.txt",
    "data.json",
    "config.yaml",
    "app.js",
    "foo.txt",
    "bar.md",
    "package.json",
    "Makefile",
    "Dockerfile",
    "LICENSE",
    "setup.cfg",
    "main.rs",
    "test.txt",
    "demo.txt",
    "hello.py",
    "script.sh",
    ".gitignore",
    ".env",
    "requirements.txt",
    "pyproject.toml",
    "file.txt",
    "file1.txt",
    "out.log",
    "style.css",
    "server.js",
    "utils.py",
    "greeting.txt",
    "plan.md",
    "ideas.txt",
    "list.txt",
]
COMMON_DIRS = [
    "src",
    "docs",
    "tests",
    "lib",
    "build",
    "data",
    "tmp",
    "app",
    "bin",
    "scripts",
    "assets",
    "include",
    "config",
    "logs",
]
SHORT_TEXTS = [
    "hi",
    "hello",
    "hello world",
    "Hello, world!",
    "foo",
    "bar",
    "bye",
    "test",
    "42",
    "hi there",
    "good morning",
    "done",
    "another line",
    "one more line",
    "TODO",
    "it works",
    "yes",
    "no",
    "abc",
    "123",
    "x = 1",
    "the end",
    "see you later",
    "first line",
    "second line",
]
STOP = frozenset(
    [
        "to",
        "into",
        "in",
        "at",
        "of",
        "and",
        "as",
        "file",
        "with",
        "for",
        "the",
        "a",
        "an",
        "on",
        "from",
        "by",
        "please",
        "not",
        "that",
    ]
)


EVERYDAY = [
    "apple",
    "banana",
    "bread",
    "butter",
    "cheese",
    "coffee",
    "tea",
    "milk",
    "sugar",
    "salt",
    "pepper",
    "rice",
    "soup",
    "cake",
    "pizza",
    "salad",
    "egg",
    "eggs",
    "dinner",
    "lunch",
    "breakfast",
    "kitchen",
    "house",
    "garden",
    "roof",
    "door",
    "window",
    "table",
    "chair",
    "bed",
    "lamp",
    "street",
    "city",
    "town",
    "village",
    "country",
    "river",
    "lake",
    "sea",
    "ocean",
    "mountain",
    "forest",
    "tree",
    "flower",
    "grass",
    "bird",
    "cat",
    "dog",
    "horse",
    "cow",
    "sheep",
    "fish",
    "mouse",
    "lion",
    "tiger",
    "bear",
    "fox",
    "rabbit",
    "snake",
    "spider",
    "bee",
    "sun",
    "moon",
    "star",
    "sky",
    "rain",
    "snow",
    "wind",
    "storm",
    "summer",
    "winter",
    "spring",
    "autumn",
    "morning",
    "evening",
    "night",
    "today",
    "tomorrow",
    "yesterday",
    "week",
    "month",
    "year",
    "monday",
    "tuesday",
    "friday",
    "sunday",
    "january",
    "march",
    "july",
    "december",
    "red",
    "green",
    "blue",
    "yellow",
    "black",
    "white",
    "brown",
    "quick",
    "lazy",
    "slow",
    "fast",
    "big",
    "small",
    "tall",
    "short",
    "old",
    "young",
    "new",
    "good",
    "bad",
    "happy",
    "sad",
    "angry",
    "tired",
    "hungry",
    "thirsty",
    "rich",
    "poor",
    "cheap",
    "expensive",
    "warm",
    "cold",
    "hot",
    "cool",
    "wet",
    "dry",
    "clean",
    "dirty",
    "full",
    "empty",
    "mother",
    "father",
    "sister",
    "brother",
    "child",
    "baby",
    "friend",
    "neighbour",
    "teacher",
    "doctor",
    "student",
    "king",
    "queen",
    "president",
    "bakery",
    "school",
    "hospital",
    "office",
    "shop",
    "market",
    "station",
    "airport",
    "hotel",
    "restaurant",
    "museum",
    "church",
    "bridge",
    "road",
    "car",
    "bus",
    "train",
    "plane",
    "ship",
    "bicycle",
    "ticket",
    "money",
    "bank",
    "price",
    "letter",
    "book",
    "page",
    "story",
    "poem",
    "song",
    "music",
    "film",
    "game",
    "chess",
    "football",
    "tennis",
    "dance",
    "picture",
    "photo",
    "phone",
    "computer",
    "keyboard",
    "screen",
    "mouse",
    "internet",
    "website",
    "email",
    "password",
    "login",
    "account",
    "user",
    "customer",
    "order",
    "invoice",
    "payment",
    "report",
    "meeting",
    "project",
    "deadline",
    "budget",
    "team",
    "manager",
    "company",
    "politics",
    "history",
    "science",
    "physics",
    "chemistry",
    "biology",
    "mathematics",
    "algebra",
    "geometry",
    "philosophy",
    "religion",
    "art",
    "language",
    "french",
    "german",
    "english",
    "spanish",
    "italian",
    "japanese",
    "chinese",
    "france",
    "germany",
    "italy",
    "spain",
    "japan",
    "china",
    "england",
    "america",
    "africa",
    "europe",
    "london",
    "paris",
    "berlin",
    "rome",
    "tokyo",
    "madrid",
    "vienna",
    "moscow",
    "amsterdam",
    "world",
    "earth",
    "mars",
    "universe",
    "planet",
    "galaxy",
    "atom",
    "energy",
    "light",
    "gravity",
    "water",
    "fire",
    "air",
    "stone",
    "gold",
    "silver",
    "iron",
    "wood",
    "paper",
    "glass",
    "war",
    "peace",
    "love",
    "hate",
    "fear",
    "hope",
    "dream",
    "life",
    "death",
    "truth",
    "beauty",
    "freedom",
    "justice",
    "health",
    "sport",
    "weather",
    "climate",
    "traffic",
    "travel",
    "holiday",
    "vacation",
    "party",
    "birthday",
    "wedding",
    "gift",
    "present",
    "remember",
    "forget",
    "buy",
    "sell",
    "eat",
    "drink",
    "sleep",
    "walk",
    "run",
    "swim",
    "fly",
    "read",
    "learn",
    "teach",
    "think",
    "believe",
    "know",
    "understand",
    "speak",
    "talk",
    "listen",
    "hear",
    "see",
    "look",
    "watch",
    "feel",
    "touch",
    "smell",
    "taste",
    "give",
    "take",
    "bring",
    "carry",
    "wash",
    "cook",
    "bake",
    "drive",
    "ride",
    "climb",
    "jump",
    "fall",
    "break",
    "build",
    "repair",
    "fix",
    "paint",
    "draw",
    "sing",
    "play",
    "win",
    "lose",
    "fight",
    "help",
    "call",
    "visit",
    "meet",
    "leave",
    "arrive",
    "wait",
    "hurry",
    "laugh",
    "cry",
    "smile",
    "live",
    "die",
    "born",
    "marry",
    "people",
    "person",
    "man",
    "woman",
    "boy",
    "girl",
    "name",
    "age",
    "number",
    "question",
    "answer",
    "problem",
    "solution",
    "idea",
    "plan",
    "goal",
    "reason",
    "please",
    "thank",
    "sorry",
    "welcome",
    "hello",
    "goodbye",
    "binary",
    "search",
    "tree",
    "list",
    "queue",
    "stack",
    "hash",
    "sort",
    "graph",
    "parser",
    "lexer",
    "compiler",
    "server",
    "client",
    "database",
    "cache",
    "thread",
    "process",
    "network",
    "protocol",
    "socket",
    "congestion",
    "control",
    "algorithm",
    "function",
    "class",
    "module",
    "library",
    "framework",
    "component",
    "service",
    "feature",
    "bug",
    "test",
    "tests",
    "failing",
    "login",
    "signup",
    "button",
    "form",
    "menu",
    "header",
    "footer",
    "layout",
    "theme",
    "pull",
    "request",
    "review",
    "merge",
    "branch",
    "commit",
    "release",
    "version",
    "deploy",
    "docker",
    "kubernetes",
    "cloud",
    "async",
    "refactor",
    "migrate",
]
ALPHABETS = (
    "äöüßéèêàçñøåæ",
    "абвгдежзиклмнопрстуфхцчшыюя",
    "αβγδεζηθικλμνξοπρστυφχψω",
    "日本語中文字漢学生",
    "łąęśżźćńőűčšžřě",
)


def accented(rng: random.Random) -> str:
    """A word that is not plain ASCII."""
    letters = rng.choice(ALPHABETS)
    if rng.random() < 0.6:
        text = list(syllables(rng, 1, 3))
        for _ in range(rng.randint(1, 2)):
            text.insert(rng.randrange(len(text) + 1), rng.choice(letters))
        return "".join(text)
    return "".join(rng.choice(letters) for _ in range(rng.randint(1, 7)))


@functools.cache
def english() -> tuple[str, ...]:
    """Words of the Python documentation that comes with every Python."""
    from pydoc_data import topics

    found = re.findall(r"\b[a-z]{2,11}\b", " ".join(topics.topics.values()))
    counts: dict[str, int] = {}
    for word in found:
        counts[word] = counts.get(word, 0) + 1
    return tuple(sorted(word for word, count in counts.items() if count > 1))


@functools.cache
def library_text() -> tuple[str, ...]:
    """Source and documentation of the standard library, as filler that means nothing here."""
    from pydoc_data import topics

    root = pathlib.Path(sysconfig.get_paths()["stdlib"])
    names = [
        "argparse",
        "ast",
        "asyncio/base_events",
        "bdb",
        "calendar",
        "configparser",
        "csv",
        "dataclasses",
        "datetime",
        "difflib",
        "doctest",
        "email/message",
        "enum",
        "ftplib",
        "http/server",
        "inspect",
        "json/decoder",
        "logging/__init__",
        "mailbox",
        "optparse",
        "os",
        "pathlib",
        "pickle",
        "platform",
        "random",
        "shutil",
        "smtplib",
        "socket",
        "statistics",
        "string",
        "subprocess",
        "tarfile",
        "tempfile",
        "textwrap",
        "threading",
        "turtle",
        "typing",
        "unittest/case",
        "uuid",
        "zipfile",
    ]
    texts = [
        (root / f"{name}.py").read_text("utf-8", "replace")
        for name in names
        if (root / f"{name}.py").exists()
    ]
    return (*texts, *topics.topics.values())


def syllables(rng: random.Random, low: int = 1, high: int = 4) -> str:
    onset = [
        "b",
        "c",
        "d",
        "f",
        "g",
        "h",
        "j",
        "k",
        "l",
        "m",
        "n",
        "p",
        "q",
        "r",
        "s",
        "t",
        "v",
        "w",
        "x",
        "z",
        "ch",
        "sh",
        "th",
        "st",
        "tr",
        "pl",
        "br",
        "gr",
        "kl",
        "sn",
        "fl",
        "dr",
    ]
    core = ["a", "e", "i", "o", "u", "a", "e", "i", "o", "u", "ai", "ee", "oo", "ou", "ie"]
    coda = ["", "", "", "n", "r", "s", "l", "t", "m", "x", "ck", "nd", "st"]
    parts = (
        rng.choice(onset) + rng.choice(core) + rng.choice(coda)
        for _ in range(rng.randint(low, high))
    )
    return "".join(parts)


def word(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.3:
        return rng.choice(english())
    if kind < 0.55:
        return rng.choice(EVERYDAY)
    if kind < 0.83:
        return syllables(rng)
    if kind < 0.85:
        return accented(rng)
    if kind < 0.93:
        return str(rng.randint(0, 10 ** rng.randint(1, 6)))
    length = rng.randint(1, 9)
    return "".join(rng.choice(string.ascii_lowercase + string.digits) for _ in range(length))


def plain_word(rng: random.Random) -> str:
    text = word(rng)
    return text if text.isascii() else syllables(rng)


def identifier(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.35:
        return plain_word(rng)
    parts = [plain_word(rng) for _ in range(rng.randint(1, 3))]
    if kind < 0.55:
        return "_".join(parts)
    if kind < 0.7:
        return "-".join(parts)
    if kind < 0.8:
        return "".join(part.capitalize() for part in parts)
    if kind < 0.86:
        return "".join(parts).upper()[:12]
    if kind < 0.93:
        return plain_word(rng) + str(rng.randint(0, 999))
    alphabet = string.ascii_letters + string.digits + "_-"
    return "".join(rng.choice(alphabet) for _ in range(rng.randint(2, 14))).strip("-_") or "q"


def directory(rng: random.Random) -> str:
    depth = rng.choice([1, 1, 1, 1, 2, 2, 3])
    parts = [
        rng.choice(COMMON_DIRS) if rng.random() < 0.4 else identifier(rng) for _ in range(depth)
    ]
    prefix = rng.choice([""] * 12 + ["./", "../", "/tmp/", "/home/" + plain_word(rng) + "/", "~/"])
    return prefix + "/".join(parts)


def filename(rng: random.Random) -> str:
    if rng.random() < 0.22:
        name = rng.choice(COMMON_FILES)
    else:
        name = identifier(rng)
        if rng.random() < 0.08:
            name += "." + identifier(rng)
        if rng.random() < 0.95:
            extension = rng.choice(EXTENSIONS) if rng.random() < 0.9 else plain_word(rng)[:4]
            name += "." + extension
        if rng.random() < 0.02:
            name = "." + name
    return directory(rng) + "/" + name if rng.random() < 0.22 else name


def line(rng: random.Random, longest: int = 8) -> str:
    """One line of text that somebody may want in a file."""
    kind = rng.random()
    if kind < 0.2:
        return rng.choice(SHORT_TEXTS)
    if kind < 0.68:
        words = [
            word(rng) if rng.random() < 0.93 else identifier(rng)
            for _ in range(rng.randint(1, longest))
        ]
        text = " ".join(words)
        if rng.random() < 0.3:
            text = text[0].upper() + text[1:]
        if rng.random() < 0.12 and len(words) > 2:
            text = text.replace(" ", ", ", 1)
        if rng.random() < 0.25:
            text += rng.choice(["!", "?", ".", "...", ":)", " :-)", "!!"])
        return text
    if kind < 0.75:
        return identifier(rng)
    forms = [
        lambda: f"{identifier(rng)} = {rng.randint(0, 9999)}",
        lambda: f"{identifier(rng)}: {word(rng)}",
        lambda: f"{word(rng)}@{word(rng)}.{rng.choice(['com', 'org', 'net', 'de'])}",
        lambda: f"v{rng.randint(0, 20)}.{rng.randint(0, 99)}.{rng.randint(0, 9)}",
        lambda: f"{rng.randint(1990, 2040)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}",
        lambda: f"- {word(rng)} {word(rng)}",
        lambda: f"# {word(rng).capitalize()} {word(rng)}",
        lambda: f"{rng.randint(0, 99)} + {rng.randint(0, 99)} = {rng.randint(0, 198)}",
        lambda: f"https://{word(rng)}.{rng.choice(['com', 'org', 'io'])}/{word(rng)}",
        lambda: f"it's {word(rng)}",
        lambda: f"{word(rng)}'s {word(rng)}",
        lambda: f"import {word(rng)}",
        lambda: f"{identifier(rng)}({rng.randint(0, 99)})",
        lambda: f"[{word(rng)}] {word(rng)}",
        lambda: f"{word(rng)} & {word(rng)}",
        lambda: f"<{word(rng)}>",
        lambda: f"{word(rng)};",
        lambda: f"{accented(rng)} {accented(rng)}",
        lambda: f"{{{chr(34)}{word(rng)}{chr(34)}: {rng.randint(0, 99)}}}",
        lambda: f"{{{chr(34)}{word(rng)}{chr(34)}: {chr(34)}{word(rng)}{chr(34)}}}",
        lambda: f"let {word(rng)} = {chr(34)}{word(rng)}{chr(34)};",
        lambda: f"{word(rng)}, {word(rng)} and {word(rng)}",
        lambda: f"{word(rng)}, {word(rng)}, {word(rng)}",
        lambda: f"const {word(rng)} = {rng.randint(0, 99)}",
        lambda: f"the {word(rng)} is {word(rng)} and {word(rng)}",
        lambda: f"this is a {word(rng)}",
        lambda: f"{word(rng)} the {word(rng)}",
        lambda: f"{word(rng)} {word(rng)} to {word(rng)}",
    ]
    return rng.choice(forms)()


def command(rng: random.Random) -> str:
    """A shell command that a user may dictate."""
    file, other, folder = filename(rng), filename(rng), directory(rng)
    name, number = identifier(rng), rng.randint(1, 99)
    forms = [
        "ls",
        "ls -la",
        "ls -l",
        "ls -a",
        f"ls {folder}",
        f"ls -la {folder}",
        "pwd",
        "whoami",
        "date",
        "git status",
        "git status",
        "git log",
        "git log --oneline",
        f"git log -n {number}",
        "git diff",
        f"git diff {file}",
        "git branch",
        f"git checkout {name}",
        f"git add {file}",
        "git add .",
        f"git commit -m '{line(rng, 4).replace(chr(39), '')}'",
        "git push",
        "git pull",
        "git stash",
        f"git show {name}",
        f"git switch -c {name}",
        "git fetch --all",
        f"cat {file}",
        f"cat {file} | wc -l",
        f"head -n {number} {file}",
        f"tail -n {number} {file}",
        f"tail -f {file}",
        f"wc -l {file}",
        f"wc -w {file} {other}",
        f"sort {file}",
        f"sort {file} | uniq -c",
        f"grep -rn {name} {folder}",
        f"grep {name} {file}",
        f"grep -i {name} {file} | head",
        f"find . -name '*.{word(rng)[:4]}'",
        f"find {folder} -type f",
        f"mkdir {folder}",
        f"mkdir -p {folder}",
        f"touch {file}",
        f"rm {file}",
        f"rm -rf {folder}",
        f"mv {file} {other}",
        f"cp {file} {other}",
        f"cp -r {folder} {name}",
        f"cd {folder} && ls",
        f"python {file}",
        f"python3 {file}",
        f"python3 -m {name}",
        f"python3 -c 'print({number})'",
        f"python -m pytest {folder}",
        "pytest",
        "pytest -q",
        f"pytest -k {name}",
        "npm test",
        "npm install",
        f"npm run {name}",
        f"npm install {name}",
        "npm run build",
        f"node {file}",
        "make",
        f"make {name}",
        "make test",
        "cargo build",
        "cargo test",
        f"cargo run {name}",
        "go build",
        "go test ./...",
        f"pip install {name}",
        "pip list",
        f"uv run {name}",
        f"chmod +x {file}",
        f"bash {file}",
        f"sh {file}",
        f"./{name}",
        f"./{file}",
        "env",
        "uname -a",
        "df -h",
        "du -sh",
        f"du -sh {folder}",
        "ps aux",
        "free -m",
        "uptime",
        "hostname",
        "id",
        f"echo {word(rng)}",
        f"echo {line(rng, 3).replace(chr(39), '')}",
        f"echo '{word(rng)}'",
        f'echo "{word(rng)} {word(rng)}"',
        f"sleep {number}",
        f"which {name}",
        f"{name} --version",
        f"{name} --help",
        f"curl http://localhost:{number}/{name}",
        "docker ps",
        f"docker run {name}",
        f"{name}",
        f"{name} {file}",
        f"{name} -{rng.choice('abcdvx')} {word(rng)}",
        f"seq {number}",
        f"kill {number}",
        f"sed -n {number}p {file}",
        f"diff {file} {other}",
        f"stat {file}",
        f"file {file}",
        f"tree {folder}",
        f"plugway {rng.choice(['check', 'status', 'doctor'])}",
        f"expr {number} + {rng.randint(1, 99)}",
        f"awk '{{print $1}}' {file}",
        f"man {name}",
        f"ruff check {folder}",
        f"mypy {file}",
        f"black {file}",
        f"tar -czf {name}.tar.gz {folder}",
    ]
    return rng.choice(forms)


def salad(rng: random.Random, words: int) -> str:
    parts = []
    for _ in range(words):
        parts.append(word(rng))
        if rng.random() < 0.12:
            parts[-1] += rng.choice([".", ",", ":", ";", ".\n", "\n", "\n- ", "\n\n", "!"])
    return " ".join(parts)


def filler(rng: random.Random, size: int) -> str:
    """Irrelevant text of about `size` characters."""
    kind = rng.random()
    if kind < 0.55:
        text = rng.choice(library_text())
        start = rng.randrange(max(1, len(text) - size))
        return text[start : start + size]
    if kind < 0.75:
        return salad(rng, max(1, size // 6))[:size]
    if kind < 0.9:
        pieces: list[str] = []
        while sum(map(len, pieces)) < size:
            properties = {
                identifier(rng): {
                    "type": rng.choice(["string", "number", "boolean"]),
                    "description": salad(rng, rng.randint(2, 12)),
                }
                for _ in range(rng.randint(1, 4))
            }
            pieces.append(
                json.dumps(
                    {
                        "name": identifier(rng),
                        "description": line(rng, 12),
                        "input_schema": {"properties": properties},
                    }
                )
            )
        return "\n".join(pieces)[:size]
    pieces = []
    while sum(map(len, pieces)) < size:
        bullet = rng.choice(
            ["- ", " - ", "* ", "1. ", "# ", "- **" + word(rng) + "**: ", "IMPORTANT: "]
        )
        pieces.append(bullet + " ".join(rng.choice(english()) for _ in range(rng.randint(4, 25))))
    return "\n".join(pieces)[:size]
