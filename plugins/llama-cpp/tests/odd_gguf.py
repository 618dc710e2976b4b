"""Writes what a whole model is not: its parts, and files with more, fewer or other entries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf

KINDS = {
    int: gguf.GGUFValueType.UINT32,
    str: gguf.GGUFValueType.STRING,
    bool: gguf.GGUFValueType.BOOL,
}
SPLIT = {
    "split.no": gguf.GGUFValueType.UINT16,
    "split.count": gguf.GGUFValueType.UINT16,
    "split.tensors.count": gguf.GGUFValueType.INT32,
}


def rewrite(
    source: Path,
    target: Path,
    *,
    architecture: str = "",
    tensors: list[str] | None = None,
    metadata: bool = True,
    **entries: Any,
) -> Path:
    """`source` again: with another architecture, only those `tensors`, without its metadata, or
    with `entries` (`general__type="adapter"`)."""
    reader = gguf.GGUFReader(str(source))
    named = reader.fields.get("general.architecture")
    own = named.contents() if named else ""
    draft = target.with_suffix(".draft")  # the source may be the target
    writer = gguf.GGUFWriter(str(draft), architecture or own or "none")
    if not metadata:
        writer.kv_data[0].clear()
    added = {name.replace("__", "."): value for name, value in entries.items()}
    for name, value in added.items():
        writer.add_key_value(name, value, SPLIT.get(name) or KINDS[type(value)])
    for field in reader.fields.values() if metadata else ():
        if field.name.startswith("GGUF.") or field.name in (*added, "general.architecture"):
            continue
        name = field.name
        if architecture and name.startswith(f"{own}."):
            name = architecture + name.removeprefix(own)
        kind = field.types[0]
        inner = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), kind, inner)
    for tensor in reader.tensors:
        if tensors is None or tensor.name in tensors:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return draft.rename(target)


def tensor_names(source: Path) -> list[str]:
    return [tensor.name for tensor in gguf.GGUFReader(str(source)).tensors]


def split(source: Path, folder: Path, count: int = 3, name: str = "m") -> list[Path]:
    """The parts of a model as `gguf-split` writes them: all metadata is in the first."""
    folder.mkdir(parents=True, exist_ok=True)
    names = tensor_names(source)
    each = -(-len(names) // count)
    return [
        rewrite(
            source,
            folder / f"{name}-{number + 1:05d}-of-{count:05d}.gguf",
            tensors=names[number * each : (number + 1) * each],
            metadata=number == 0,
            split__no=number,
            split__count=count,
            split__tensors__count=len(names),
        )
        for number in range(count)
    ]
