"""Finds tools by words: SQLite's full-text search over what they are called and described by.

The words of a request are completed by those of `synonyms.yaml`, because people say "folder" and
tools say "directory".
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Final

import yaml

from plugway import as_object
from plugway_tools import ToolSpec

MAX_WORDS: Final = 60
"""Most different words of a request that are searched for."""
_WORD: Final = re.compile(r"[a-z0-9]+")
_PARTS: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")
_ADDRESS: Final = re.compile(
    r"https?://\S+|\b(?:[\w-]+\.)+(?:com|org|net|io|dev|edu|gov|example)\b"
)
_WEIGHTS: Final = "5.0, 4.0, 1.0"
"""Of the name, the further words, and the description with the names of arguments."""


class Index:
    """The words of some tools."""

    def __init__(self, specs: Sequence[ToolSpec]) -> None:
        self.specs = tuple(specs)
        self._db = sqlite3.connect(":memory:", check_same_thread=False)
        self._db.execute(
            "create virtual table tools using fts5(name, words, text, tokenize='porter unicode61')"
        )
        rows = [
            (number, _spaced(spec.name), " ".join(spec.words), _text(spec))
            for number, spec in enumerate(self.specs)
        ]
        self._db.executemany("insert into tools(rowid, name, words, text) values(?,?,?,?)", rows)

    def find(self, text: str) -> list[str]:
        """Names of the tools that fit the words of `text`, the best first."""
        words = words_of(text)
        if not words:
            return []
        query = " OR ".join(f'"{word}"' for word in words)
        order = f"select rowid from tools where tools match ? order by bm25(tools, {_WEIGHTS})"
        return [self.specs[int(row[0])].name for row in self._db.execute(order, (query,))]

    def __del__(self) -> None:
        self._db.close()


def words_of(text: str) -> list[str]:
    """The words to search for: those of the text that mean something, then what tools call it."""
    known = _known()
    address = ("url", "navigate", "fetch") if _ADDRESS.search(text) else ()
    said = dict.fromkeys(_WORD.findall(_ADDRESS.sub(" ", text).lower()))
    meant = [word for word in said if word not in known.ignored][:MAX_WORDS]
    more = [other for word in meant for other in known.synonyms.get(word, ())]
    return list(dict.fromkeys([*meant, *address, *more]))


class _Known:
    def __init__(self, data: Mapping[str, Any]) -> None:
        self.ignored = frozenset(str(data["ignored"]).split())
        self.synonyms = {
            word: tuple(str(others).split())
            for words, others in as_object(data["synonyms"]).items()
            for word in words.split()
        }


@cache
def _known() -> _Known:
    text = files("plugway_toolbelt").joinpath("synonyms.yaml").read_text(encoding="utf-8")
    return _Known(as_object(yaml.safe_load(text)))


def _spaced(name: str) -> str:
    return " ".join(_PARTS.findall(name))


def _text(spec: ToolSpec) -> str:
    names = as_object(as_object(spec.input_schema).get("properties"))
    text = f"{spec.description} {' '.join(map(_spaced, names))}"
    return text.encode("utf-8", "replace").decode()
