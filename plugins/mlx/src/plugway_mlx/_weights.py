"""Headers of safetensors files: sizes and parameters, checked before anything is loaded.

The format: 8 bytes with the length of the header (little endian), the header as JSON, the data
(`README.md` of huggingface/safetensors, "Format").
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from plugway_local_models import UnusableModel

_LENGTH: Final = struct.Struct("<Q")
_LONGEST: Final = 100_000_000
"""Bytes of a header; the limit of the format's own library."""

_MOST_SIDES: Final = 16
"""Dimensions of a tensor that are counted; the format has no limit, models have at most 5."""
_LARGEST: Final = 1 << 60


@dataclass(frozen=True, slots=True)
class Weights:
    """The contents of one file."""

    size: int
    """Bytes of the file."""
    tensors: int
    numbers: int
    """Stored numbers of all tensors; with quantization, several parameters are in one."""


def read_weights(path: Path) -> Weights:
    """The header of a file.

    Raises:
        UnusableModel: it is not a safetensors file, or it is truncated.
    """
    try:
        if path.exists() and not path.is_file():
            raise UnusableModel(f"{path}: it is not a regular file")
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(_LENGTH.size)
            length = _LENGTH.unpack(start)[0] if len(start) == _LENGTH.size else 0
            text = file.read(length) if 0 < length <= _LONGEST else b""
        header = _parse(text)
    except OSError as error:
        raise UnusableModel(f"{path}: it cannot be read ({error.strerror})") from None
    if header is None or len(text) < length:
        raise UnusableModel(f"{path}: it is not a safetensors file, or it is truncated")
    tensors = [cast("dict[str, Any]", t) for n, t in header.items() if n != "__metadata__"]
    try:
        end = max((_whole(t["data_offsets"][1]) for t in tensors), default=0)
        numbers = sum(math.prod(map(_whole, t["shape"][:_MOST_SIDES])) for t in tensors)
    except (KeyError, IndexError, TypeError, ValueError):
        raise UnusableModel(f"{path}: its header is damaged") from None
    if _LENGTH.size + length + end > size:
        lacking = _LENGTH.size + length + end - size
        raise UnusableModel(
            f"{path}: it is truncated, {lacking:,} bytes are missing. Download it again with "
            "`plugway models pull`"
        )
    return Weights(size, len(tensors), numbers)


def _whole(value: Any) -> int:
    if not isinstance(value, int) or not 0 <= value <= _LARGEST:
        raise ValueError
    return value


def _parse(text: bytes) -> dict[str, Any] | None:
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", found) if isinstance(found, dict) else None
