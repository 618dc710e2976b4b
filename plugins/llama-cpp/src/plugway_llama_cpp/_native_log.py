"""llama.cpp's log output: warnings and errors go to the worker's log, and provide the reason of a
failure. Only the worker imports this module."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# llama_cpp declares its functions through an untyped decorator.

from __future__ import annotations

import re
import sys
from collections import deque
from typing import Final

import llama_cpp
import llama_cpp.llama_cpp as api

_WARNING, _ERROR = 3, 4
_MOST: Final = 300
"""Maximum characters of a reason."""
_MODEL: Final = re.compile(r"error loading model: (?:error loading model \w+: )?(.+)")
_FUNCTION: Final = re.compile(r"^\w+: (?:error: )?")
_SAYS_NOTHING: Final = re.compile(r"failed to load (?:model|CLIP model)\b[^:]*$")
_TOO_NEW: Final = re.compile(r"unknown (?:model architecture|pre-tokenizer type|projector type)")

_errors: deque[str] = deque(maxlen=20)


@api.llama_log_callback
def log_callback(level: int, text: bytes, _data: object) -> None:
    if level in (_WARNING, _ERROR):
        sys.stderr.buffer.write(text)
        sys.stderr.flush()
    if level == _ERROR:
        _errors.append(text.decode("utf-8", "replace"))


def forget() -> None:
    """Drop the previous lines, which belong to another operation."""
    _errors.clear()


def reason() -> str:
    """Why the library failed since `forget`, in its own words; empty if it printed nothing."""
    found = reason_in("".join(_errors).splitlines())
    if _TOO_NEW.search(found):
        found += f"; `llama-cpp-python` {llama_cpp.__version__} may be too old for it: upgrade it"
    return found


def reason_in(lines: list[str]) -> str:
    """The most specific line: the last one of loading a model, else the first error."""
    named = [match[1] for line in lines if (match := _MODEL.search(line))]
    said = [_FUNCTION.sub("", line).strip() for line in lines]
    telling = [line for line in said if line and not _SAYS_NOTHING.search(line)]
    return next(iter([*named[::-1], *telling]), "")[:_MOST].strip()
