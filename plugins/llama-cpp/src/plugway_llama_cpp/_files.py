"""The files of a model: all parts of a split one, and how other GGUF files are recognized.

Split models: `docs/gguf.md` of the ggml project, "Sharding", and `gguf-split` of llama.cpp, which
writes the metadata to the first part only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from plugway_llama_cpp._gguf import Header, HostileFile, read_beginning, read_header

_PART: Final = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})")
_MOST_PARTS: Final = 1000
_MOST_NAMED: Final = 3
_RANK: Final = 4
"""`LLAMA_POOLING_TYPE_RANK` of `llama.h`."""
_OTHER_TYPES: Final[Mapping[str, str]] = {
    "mmproj": "an image projector: name its model in `model`, and this file in `mmproj`",
    "adapter": "a LoRA adapter, which works only together with {base}: merge the two into one file",
    "imatrix": "an importance matrix, which is only needed to quantize a model",
    "controlvector": "a control vector, which only works together with its model",
}
"""Descriptions of GGUF files that are not models, by `general.type` or `general.architecture`."""


def parts_of(path: Path) -> list[Path]:
    """The files of a model, given one of them; a model that is not split has one, whatever its
    name is."""
    named = _named_parts(path)
    return [path] if len(named) > 1 and is_whole(path) else named


def is_whole(path: Path) -> bool:
    """Whether the header says that the file is all of its model, although its name may say that it
    is a part; False if that cannot be read."""
    try:
        status = path.stat()
        return _says_whole(path, (status.st_mtime_ns, status.st_size))
    except (HostileFile, OSError):
        return False


@lru_cache(maxsize=512)
def _says_whole(path: Path, changed: tuple[int, int]) -> bool:
    return read_header(path).values.get("split.count", 1) <= 1


def _named_parts(path: Path) -> list[Path]:
    """The files of a split model by the name of one of them."""
    named = _PART.fullmatch(path.stem)
    if named is None or not 1 <= int(named["count"]) <= _MOST_PARTS:
        return [path]
    count = int(named["count"])
    return [
        path.with_name(f"{named['stem']}-{number:05d}-of-{count:05d}{path.suffix}")
        for number in range(1, count + 1)
    ]


def read_model(path: Path) -> Header:
    """The header of a model, with the bytes, tensors and parameters of all its parts.

    Raises:
        HostileFile: a file is missing, damaged, truncated or unreadable, or it is not a model.
    """
    header = _read(path)
    if reason := _other_than_a_model(header.values) or _without_a_voice(header):
        raise HostileFile(f"{path}: {reason}")
    parts = [header, *map(_read, _later_parts(path, header.values))]
    for number, part in enumerate(parts):
        _check_place(path, part, number, len(parts))
    tensors = sum(part.tensors for part in parts)
    stated = header.values.get("split.tensors.count")
    if len(parts) > 1 and isinstance(stated, int) and stated != tensors:
        raise HostileFile(
            f"{path}: its parts have {tensors:,} of {stated:,} tensors, so they are of different "
            "models. Download all of them again with `plugway models pull`"
        )
    return replace(
        header,
        size=sum(part.size for part in parts),
        tensors=tensors,
        parameters=sum(part.parameters for part in parts),
    )


def glance(path: Path) -> str:
    """Why a file is certainly not a usable model, without reading its whole header; empty if it may
    be one."""
    try:
        values = _beginning(path, path.stat().st_mtime_ns)
    except (HostileFile, OSError) as error:
        return _said(path, error)
    wrong = _other_than_a_model(values) or _missing(path)
    return f"{path}: {wrong}" if wrong else ""


def is_something_else(path: Path) -> bool:
    """Whether a GGUF file is a projector, an adapter or the like."""
    if path.name.lower().startswith("mmproj"):
        return True
    try:
        return bool(_other_than_a_model(_beginning(path, path.stat().st_mtime_ns)))
    except (HostileFile, OSError):
        return False  # the error is reported when the file is requested


@lru_cache(maxsize=512)
def _beginning(path: Path, changed: int) -> Mapping[str, Any]:
    return read_beginning(path)


def _read(path: Path) -> Header:
    try:
        return read_header(path)
    except OSError as error:
        raise HostileFile(_said(path, error)) from None


def _said(path: Path, error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{path}: it cannot be read ({error.strerror})"
    return str(error)


def _other_than_a_model(values: Mapping[str, Any]) -> str:
    architecture, kind = values.get("general.architecture"), values.get("general.type")
    name = "mmproj" if architecture == "clip" else architecture
    other = _OTHER_TYPES.get(str(kind)) or _OTHER_TYPES.get(str(name))
    if other is None:
        return ""
    base = values.get("general.base_model.0.name")
    return "it is " + other.format(base=f"`{base}`" if base else "its base model")


def _without_a_voice(header: Header) -> str:
    """Why a model is of no use here; empty if it is usable."""
    if not header.tensors and not header.values.get("split.count"):
        return "it has a vocabulary but no weights"
    if header.pooling == _RANK:
        return "it is a reranking model, which creates neither text nor embeddings"
    return ""


def _later_parts(path: Path, values: Mapping[str, Any]) -> list[Path]:
    """The other files of a split model. Raises `HostileFile` if one is missing."""
    count, number = values.get("split.count", 1), values.get("split.no", 0)
    if count <= 1:
        return []
    parts = _named_parts(path)
    if number:
        first = f": name its first part, {parts[0].name}" if len(parts) > 1 else ""
        raise HostileFile(f"{path}: it is part {number + 1} of {count} of a model{first}")
    if len(parts) != count or parts[0] != path:
        raise HostileFile(
            f"{path}: it is the first of {count} parts of a model, but its name does not say so. "
            f"Name them NAME-00001-of-{count:05d}.gguf and so on"
        )
    if missing := _missing(path):
        raise HostileFile(f"{path}: {missing}")
    return parts[1:]


def _missing(path: Path) -> str:
    parts = parts_of(path)
    lacking = [n for n, part in enumerate(parts, 1) if not part.exists()]
    if not lacking:
        return ""
    named = ", ".join(parts[n - 1].name for n in lacking[:_MOST_NAMED])
    more = f" and {len(lacking) - _MOST_NAMED} more" if len(lacking) > _MOST_NAMED else ""
    which = f"part {lacking[0]}" if len(lacking) == 1 else f"{len(lacking)}"
    verb = "is" if len(lacking) == 1 else "are"
    return (
        f"{which} of its {len(parts)} parts {verb} missing: {named}{more}. Put all parts into one "
        "folder, or download the model again with `plugway models pull`"
    )


def _check_place(path: Path, part: Header, number: int, count: int) -> None:
    if count == 1:
        return
    own_number, own_count = part.values.get("split.no"), part.values.get("split.count")
    if (own_number, own_count) != (number, count):
        own = f"part {own_number + 1} of {own_count}" if isinstance(own_number, int) else "no part"
        raise HostileFile(
            f"{path}: {part.path.name} is {own} of a model, not part {number + 1} of {count} as "
            "its name says. Download it again with `plugway models pull`"
        )
