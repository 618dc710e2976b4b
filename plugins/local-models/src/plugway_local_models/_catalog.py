"""The models that advice is about: `data/models.yaml`, checked and typed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

import yaml

from plugway import as_list, as_object
from plugway_local_models.sizing import GIB, MIB, Attention, Recurrent, Shape

_ROUNDED: Final = re.compile(r"(\d+(?:\.\d)?) (MiB|GiB)")
_UNITS: Final = {"MiB": MIB, "GiB": GIB}
_LOW_BITS: Final = re.compile(r"(^|-)I?Q[123]_")


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A quantisation of a model."""

    quant: str
    size: int
    """Bytes; an upper bound if the source rounded it."""

    @property
    def is_low(self) -> bool:
        """Whether it has so few bits that answers get noticeably worse: less than four."""
        return bool(_LOW_BITS.search(self.quant))


@dataclass(frozen=True, slots=True)
class CatalogModel:
    """A model of the data file; the file explains the fields."""

    key: str
    title: str
    released: str
    active: float
    """Billions of parameters that work on each token."""
    agents: bool
    tools: bool
    context: int
    repo: str
    shape: Shape
    files: tuple[ModelFiles, ...]
    """The smallest first."""
    sources: tuple[str, ...]
    names: re.Pattern[str]
    """Matches the names that programs give it."""

    def is_named(self, name: str) -> bool:
        """Whether a program's name of a model means this one, such as `qwen3.8:27b`."""
        return self.names.search(name.lower()) is not None


@dataclass(frozen=True, slots=True)
class Catalog:
    """All models, the preferred ones first."""

    checked: str
    """Date of the last check, as in `2026-11-30`."""
    models: tuple[CatalogModel, ...]


@cache
def catalog() -> Catalog:
    """The data file of this package."""
    text = files("plugway_local_models").joinpath("data/models.yaml").read_text("utf-8")
    return parse(text)


def parse(text: str) -> Catalog:
    """Read the form of the data file; raises `KeyError` or `ValueError` for another form."""
    document = as_object(yaml.safe_load(text))
    models = [_model(as_object(item)) for item in as_list(document["models"])]
    return Catalog(str(document["checked"]), tuple(models))


def _model(item: Mapping[str, Any]) -> CatalogModel:
    sizes = as_object(item["files"])
    quants = [ModelFiles(quant, _size(size)) for quant, size in sizes.items()]
    return CatalogModel(
        key=item["key"],
        title=item["title"],
        released=str(item["released"]),
        active=float(item["active"]),
        agents=bool(item["agents"]),
        tools=bool(item["tools"]),
        context=int(item["context"]),
        repo=item["repo"],
        shape=_shape(item),
        files=tuple(sorted(quants, key=lambda entry: entry.size)),
        sources=tuple(map(str, as_list(item["sources"]))),
        names=_names([str(name) for name in as_list(item.get("match")) or [item["key"]]]),
    )


def _shape(item: Mapping[str, Any]) -> Shape:
    return Shape(
        tuple(Attention(**as_object(group)) for group in as_list(item["attention"])),
        tuple(Recurrent(**as_object(group)) for group in as_list(item.get("recurrent"))),
        int(item["width"]),
        int(item["inner"]),
        int(item["vocabulary"]),
    )


def _size(value: Any) -> int:
    """Bytes; a rounded text counts as the largest number that is rounded to it."""
    if type(value) is int:
        return value
    match = _ROUNDED.fullmatch(str(value))
    if match is None:
        raise ValueError(f"a size is neither a whole number nor such as `15.7 GiB`: {value!r}")
    return int((float(match[1]) + 0.05) * _UNITS[match[2]])


def _names(keys: Sequence[str]) -> re.Pattern[str]:
    """A pattern for the keys, whatever stands between their parts: programs write `qwen3.8:27b`,
    `Qwen3.8-27B-GGUF` or `qwen3.8_27b`."""
    joined = [r"[^a-z0-9]*".join(re.findall(r"[a-z]+\d*[a-z]*|\d+[a-z]*", key)) for key in keys]
    return re.compile(rf"(?<![a-z0-9])({'|'.join(joined)})(?![a-z0-9])")
