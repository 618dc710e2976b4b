"""Reads a Dockerfile as Docker does, as far as ours goes; it stops at anything that it does not know.

Source: the reference of Dockerfiles (instructions, line continuations, substitution of variables,
the `.dockerignore` file).
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from fnmatch import translate
from pathlib import Path, PurePosixPath

KNOWN = {
    *("ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "RUN"),
    *("STOPSIGNAL", "USER", "VOLUME", "WORKDIR"),
}
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


@dataclass(frozen=True)
class Step:
    """One instruction: its name, and what follows it."""

    name: str
    text: str


@dataclass(frozen=True)
class Stage:
    """`FROM base AS name`, and its steps."""

    base: str
    name: str
    steps: tuple[Step, ...]

    def all(self, name):
        return [step.text for step in self.steps if step.name == name]

    def one(self, name):
        (text,) = self.all(name)
        return text


def instructions(text):
    """The instructions, with continued lines joined and comments left out."""
    joined, rest = [], ""
    for line in text.splitlines():
        if line.lstrip().startswith("#"):
            continue
        rest += line
        if rest.endswith("\\"):
            rest = rest[:-1]
            continue
        if rest.strip():
            joined.append(rest.strip())
        rest = ""
    assert not rest, "the last line is continued"
    for line in joined:
        name, _, arguments = line.partition(" ")
        assert name in KNOWN, f"unknown instruction {name!r}"
        yield Step(name, arguments.strip())


def substituted(text, values):
    """`text` with `$NAME` and `${NAME}` replaced; a name without a value stops."""
    return _VARIABLE.sub(lambda found: values[found[1] or found[2]], text)


def pairs(text):
    """`A=1 B="x y"` as a dictionary."""
    return dict(part.partition("=")[::2] for part in shlex.split(text))


def read(path):
    """The stages of a Dockerfile."""
    found, before = [], {}
    for step in instructions(path.read_text("utf-8")):
        if step.name == "FROM":
            words = substituted(step.text, before).split()
            assert len(words) == 1 or (len(words) == 3 and words[1] == "AS"), step.text
            found.append((words[0], words[2] if len(words) == 3 else "", []))
        elif not found:
            assert step.name == "ARG", f"{step.name} before FROM"
            before |= pairs(step.text)
        else:
            found[-1][2].append(step)
    return [Stage(base, name, tuple(steps)) for base, name, steps in found]


def words_of(text):
    """The words of an exec form, such as `["plugway", "serve"]`."""
    words = json.loads(text)
    assert isinstance(words, list)
    assert all(isinstance(word, str) for word in words)
    return words


def health_check(stage):
    """The command of `HEALTHCHECK`, and its options."""
    options, _, command = stage.one("HEALTHCHECK").partition(" CMD ")
    return words_of(command), dict(o.removeprefix("--").split("=") for o in options.split())


class Ignored:
    """What `.dockerignore` keeps out: the last pattern that fits a path, or a folder above, decides."""

    def __init__(self, path: Path) -> None:
        self._rules = []
        for line in path.read_text("utf-8").splitlines():
            if line.strip() and not line.startswith("#"):
                keeps = line.startswith("!")
                self._rules.append((keeps, _pattern(line.removeprefix("!").strip())))

    def __call__(self, path: str) -> bool:
        folders = [str(one) for one in (PurePosixPath(path), *PurePosixPath(path).parents)]
        ignored = False
        for keeps, pattern in self._rules:
            if any(pattern.fullmatch(one) for one in folders if one != "."):
                ignored = not keeps
        return ignored


def _pattern(text):
    """A pattern of Go's `filepath.Match`, where `*` stays in one folder, and `**/` is any folder."""
    parts = []
    for part in text.strip("/").split("/"):
        if part == "**":
            parts.append("(?:[^/]+/)*")
            continue
        regex = translate(part).removeprefix("(?s:").removesuffix(r")\Z").replace(".*", "[^/]*")
        parts.append(f"{regex}/")
    return re.compile("".join(parts).removesuffix("/"))
