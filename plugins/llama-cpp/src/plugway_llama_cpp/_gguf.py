"""Read the header of a GGUF file without trusting it, before llama.cpp opens the file.

Every count, length and offset is first checked against the file's size. Weights are not read.
Format: `docs/gguf.md` of the ggml project.
"""

from __future__ import annotations

import math
import os
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from plugway_local_models import UnusableModel

_MAGIC: Final = b"GGUF"
_STRING: Final = 8
_ARRAY: Final = 9
_SCALARS: Final = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q",
    12: "<d",
}  # fmt: skip
_MAX_PAIRS: Final = 65_536
_MAX_TENSORS: Final = 200_000
_MAX_KEY: Final = 65_535
_MAX_STRING: Final = 64 << 20
_MAX_TEXT: Final = 256 << 20
"""Bytes of all strings together."""
_MAX_ITEMS: Final = 2_000_000
"""Strings in all arrays together, which are read one by one; a vocabulary has less than 600,000
tokens and merges in the largest models of 2026."""
_KEPT_ITEMS: Final = 64
_MAX_DEPTH: Final = 2

_TYPE_SIZES: Final = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
    9: (32, 36), 10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210),
    15: (256, 292), 16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18),
    21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8),
    28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17),
}  # fmt: skip
"""Elements per block and bytes per block, by tensor type (`ggml.h`)."""

_PICKLES: Final = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


class HostileFile(UnusableModel):
    """The file is not a safe GGUF model; the message has the reason."""


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a model file."""

    path: Path
    size: int
    version: int
    tensors: int
    parameters: int
    values: Mapping[str, Any]
    """Metadata. Long arrays are cut after 64 items; `array:KEY` has their real length."""

    @property
    def architecture(self) -> str:
        """Name such as `llama` or `gemma3`."""
        return self.text("general.architecture")

    def text(self, key: str, default: str = "") -> str:
        """A string of the metadata."""
        value = self.values.get(key, default)
        return value if isinstance(value, str) else default

    def number(self, key: str, default: int = 0) -> int:
        """A number under the architecture's prefix; the largest if layers differ."""
        value = self.values.get(f"{self.architecture}.{key}", default)
        if isinstance(value, list):
            numbers = [item for item in value if type(item) is int]  # pyright: ignore
            return max(numbers, default=default)
        return value if type(value) is int else default

    @property
    def pooling(self) -> int:
        """How the vectors of a text's tokens become one (`llama_pooling_type` of `llama.h`): 0 for
        none, which most models that generate text have, 4 for a reranker."""
        return self.number("pooling_type")

    @property
    def embeds(self) -> bool:
        """Whether it is an embedding model: it creates vectors, and no text."""
        encoder = self.values.get(f"{self.architecture}.attention.causal") is False
        return self.pooling in (1, 2, 3) or (encoder and self.pooling == 0)


def read_header(path: Path) -> Header:
    """Read and check a header.

    Raises:
        HostileFile: the file is damaged, truncated, of another type, or malicious.
        OSError: it cannot be read.
    """
    with _regular(path).open("rb") as file:
        return _Reader(file, path).header()


def read_beginning(path: Path) -> dict[str, Any]:
    """The leading `general.` entries, which quickly show the kind of the file.

    Raises as `read_header` does.
    """
    with _regular(path).open("rb") as file:
        return _Reader(file, path).beginning()


def _regular(path: Path) -> Path:
    """The path, if it can be opened without waiting, as a pipe or a device cannot."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise HostileFile(f"{path}: it is not a regular file, so it is no model. Remove it")
    return path


class _Reader:
    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self._path = path
        self._size = os.fstat(file.fileno()).st_size
        self._items_left = _MAX_ITEMS
        self._text_left = _MAX_TEXT

    def header(self) -> Header:
        version, tensors, pairs = self._start()
        values: dict[str, Any] = {}
        for _ in range(pairs):
            self._value(self._key(values), values)
        alignment = values.get("general.alignment", 32)
        sane = isinstance(alignment, int) and 1 <= alignment <= 65_536
        self._check(sane, f"its alignment is {alignment!r}")
        parameters = self._tensors(tensors, int(alignment))
        header = Header(self._path, self._size, version, tensors, parameters, values)
        self._check_split(values)
        # A later part of a split model, and a file that is not a model, need no architecture.
        named = header.architecture or header.text("general.type") or values.get("split.no")
        self._check(bool(named), "it has no `general.architecture`")
        return header

    def _check_split(self, values: Mapping[str, Any]) -> None:
        for key in ("split.no", "split.count", "split.tensors.count"):
            value = values.get(key, 0)
            sound = type(value) is int and value >= 0
            self._check(sound, f"its `{key}` is {str(value)[:40]!r} instead of a whole number")
        number, count = values.get("split.no", 0), values.get("split.count")
        sound = count is None or number < max(count, 1)
        self._check(sound, f"its `split.no` is {number}, but its `split.count` is {count}")

    def beginning(self) -> dict[str, Any]:
        _, _, pairs = self._start()
        values: dict[str, Any] = {}
        for _ in range(pairs):
            key = self._key(values)
            if not key.startswith("general."):
                break
            self._value(key, values)
        return values

    def _key(self, values: Mapping[str, Any]) -> str:
        key = self._string(_MAX_KEY)
        self._check(key not in values, f"the metadata key {key[:80]!r} occurs twice")
        return key

    def _start(self) -> tuple[int, int, int]:
        """Version, and the counts of tensors and of metadata entries."""
        magic = self._file.read(4)
        if magic != _MAGIC:
            self._refuse(_what_it_is(magic + self._file.read(60)))
        version = self._scalar("<I")
        self._check(version in (2, 3), f"its GGUF version {version} is not supported, only 2 and 3")
        tensors, pairs = self._scalar("<Q"), self._scalar("<Q")
        self._check(tensors <= _MAX_TENSORS, f"it declares {tensors:,} tensors")
        self._check(pairs <= _MAX_PAIRS, f"it declares {pairs:,} metadata entries")
        return version, tensors, pairs

    def _tensors(self, count: int, alignment: int) -> int:
        names: set[str] = set()
        ends: list[tuple[str, int]] = []
        parameters = 0
        for _ in range(count):
            name = self._string(1024)
            self._check(name not in names, f"the tensor {name[:80]!r} occurs twice")
            names.add(name)
            elements, size = self._tensor_size(name)
            offset = self._scalar("<Q")
            self._check(
                offset % alignment == 0, f"the offset of tensor {name[:80]!r} is not aligned"
            )
            ends.append((name, offset + size))
            parameters += elements
        data = -(-self._file.tell() // alignment) * alignment
        for name, end in ends:
            if data + end > self._size:
                self._refuse(
                    f"it is cut off: tensor {name[:80]!r} ends at byte {data + end:,} and the file "
                    f"at {self._size:,}. Download it again with `plugway models pull`"
                )
        return parameters

    def _tensor_size(self, name: str) -> tuple[int, int]:
        dimensions = self._scalar("<I")
        self._check(1 <= dimensions <= 4, f"tensor {name[:80]!r} has {dimensions} dimensions")
        shape = [self._scalar("<Q") for _ in range(dimensions)]
        elements = math.prod(shape)
        self._check(0 < elements < 1 << 48, f"tensor {name[:80]!r} has the shape {shape}")
        kind = self._scalar("<I")
        block, bytes_ = _TYPE_SIZES.get(kind, (1, 0))
        self._check(elements % block == 0, f"tensor {name[:80]!r} does not fill its blocks")
        return elements, elements // block * bytes_

    def _value(self, key: str, values: dict[str, Any]) -> None:
        kind = self._scalar("<I")
        if kind == _ARRAY:
            values[key] = self._array(key, values, 1)
        else:
            values[key] = self._single(key, kind)

    def _single(self, key: str, kind: int) -> Any:
        if kind == _STRING:
            return self._string(_MAX_STRING)
        self._check(kind in _SCALARS, f"the value of {key[:80]!r} has the unknown type {kind}")
        return self._scalar(_SCALARS[kind])

    def _array(self, key: str, values: dict[str, Any], depth: int) -> list[Any]:
        self._check(depth <= _MAX_DEPTH, f"the array {key[:80]!r} is nested too deeply")
        kind, count = self._scalar("<I"), self._scalar("<Q")
        values[f"array:{key}"] = count
        least = {_STRING: 8, _ARRAY: 12}.get(kind) or struct.calcsize(_SCALARS.get(kind, "<B"))
        left = self._size - self._file.tell()
        self._check(count * least <= left, f"the array {key[:80]!r} declares {count:,} items")
        kept: list[Any] = []
        if kind in _SCALARS:
            keep = min(count, _KEPT_ITEMS)
            kept = [self._scalar(_SCALARS[kind]) for _ in range(keep)]
            self._file.seek((count - keep) * least, os.SEEK_CUR)
            return kept
        self._items_left -= count
        self._check(
            self._items_left >= 0,
            f"its arrays have more than {_MAX_ITEMS:,} items up to {key[:80]!r}, more than any "
            "vocabulary",
        )
        for index in range(count):
            item = (
                self._array(key, values, depth + 1) if kind == _ARRAY else self._single(key, kind)
            )
            if index < _KEPT_ITEMS:
                kept.append(item)
        return kept

    def _string(self, limit: int) -> str:
        length = self._scalar("<Q")
        left = self._size - self._file.tell()
        self._check(length <= min(limit, left), f"a string declares {length:,} bytes")
        self._text_left -= length
        self._check(self._text_left >= 0, f"its texts have more than {_MAX_TEXT:,} bytes")
        return self._file.read(length).decode("utf-8", "replace")

    def _scalar(self, form: str) -> Any:
        data = self._file.read(struct.calcsize(form))
        self._check(len(data) == struct.calcsize(form), "it ends within its header")
        return struct.unpack(form, data)[0]

    def _check(self, sound: bool, reason: str) -> None:
        if not sound:
            self._refuse(reason)

    def _refuse(self, reason: str) -> None:
        raise HostileFile(f"{self._path}: {reason}")


def _what_it_is(start: bytes) -> str:
    """The file's type by content, not by suffix: a pickle may run code when it is opened."""
    if start.startswith(_PICKLES):
        return "it is a pickle (PyTorch) file, which can run code when it is read; GGUF is needed"
    if start[8:9] == b"{" and start[:8].rstrip(b"\0"):
        return "it looks like safetensors; this engine needs a GGUF file"
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, not the model itself"
    if start[:4] == _MAGIC[::-1]:
        return "it is a big-endian GGUF file"
    if start.lstrip()[:1] in (b"<", b"{"):
        return "it is a web page or JSON text, not a model"
    if not start:
        return "it is empty"
    return f"it does not start with `GGUF` but with {start[:4]!r}"
