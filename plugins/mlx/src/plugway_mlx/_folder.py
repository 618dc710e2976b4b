"""Folders with MLX models: what is in them, and why one cannot be used.

A model is a folder with `config.json`, a tokenizer, and `model*.safetensors`, as mlx-lm saves it
(`mlx_lm.utils.load_model`). See `_weights` for the contents of a safetensors file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from stat import S_ISREG
from typing import Any, Final, cast

from plugway_local_models import UnusableModel
from plugway_mlx._weights import read_weights

CONFIG: Final = "config.json"
WEIGHTS: Final = "model*.safetensors"
_INDEX: Final = "model.safetensors.index.json"
_TOKENIZERS: Final = ("tokenizer.json", "tokenizer.model", "tiktoken.model", "vocab.json")
_GGUF: Final = b"GGUF"
_LARGEST_NUMBER: Final = 1 << 40
_LARGEST_CONFIG: Final = 64 << 20
_READABLE: Final = frozenset(
    {"bitnet", "mxfp4", "mxfp8", "fp8", "compressed-tensors", "modelopt", "awq", "gptq"}
)
"""Values of `quant_method` that mlx-lm converts (`mlx_lm.utils.load_model`)."""
_FOUR_BITS_ONLY: Final = frozenset({"awq", "gptq"})
_MOST_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a model before it is loaded."""

    config: Mapping[str, Any]
    """`config.json`; the part for text if the model reads more than text."""
    size: int
    """Bytes of the weights."""
    parameters: int
    """Stored numbers; fewer than the model's parameters if it is quantized."""
    is_demo: bool

    @property
    def architecture(self) -> str:
        """`model_type`."""
        return _shown(str(self.config.get("model_type", "?")))

    @property
    def trained_context(self) -> int:
        """Tokens that it was trained for; 0 if unknown."""
        return self.number("max_position_embeddings")

    @property
    def bits(self) -> str:
        """The quantization, such as `4 bits`; empty without one."""
        quantization: Any = self.config.get("quantization")
        bits: Any = quantization.get("bits") if isinstance(quantization, dict) else None  # pyright: ignore
        return f"{bits} bits" if isinstance(bits, int) else ""

    def number(self, key: str, default: int = 0) -> int:
        """A size in the configuration; `default` for anything that cannot be one."""
        value = self.config.get(key)
        if not isinstance(value, int) or isinstance(value, bool):
            return default
        return value if 0 <= value <= _LARGEST_NUMBER else default


def glance(path: Path) -> str:
    """Why a path is certainly not a usable model, without reading its weights; empty if it may be
    one."""
    try:
        read_config(path)
    except UnusableModel as error:
        return str(error)
    return ""


def read_model(path: Path) -> Facts:
    """The facts of a folder.

    Raises:
        UnusableModel: it is not a complete MLX model that can be run here.
    """
    config = read_config(path)
    files = [p for p in sorted(path.glob(WEIGHTS)) if _is_there(p)]
    changed = tuple((p.name, p.stat().st_mtime_ns) for p in files)
    size, numbers = _measure(path, changed)
    text: Any = config.get("text_config")
    inner = {**config, **cast("dict[str, Any]", text)} if isinstance(text, dict) else config
    kind = {"model_type": config["model_type"]}
    return Facts({**inner, **kind}, size, numbers, is_demo(path))


def read_config(path: Path) -> Mapping[str, Any]:
    """`config.json` of a folder that looks like a complete model.

    Raises:
        UnusableModel: the folder is not a model, or one for another program.
    """
    if wrong := _other_than_a_folder(path):
        raise UnusableModel(f"{path}: {wrong}")
    config = _load(path / CONFIG)
    if wrong := _without_parts(path) or _for_others(path, config):
        raise UnusableModel(f"{path}: {wrong}")
    return config


def is_demo(path: Path) -> bool:
    """Whether it is the model that ships with Plugway, also in another place."""
    file = path / "tokenizer_config.json"
    try:
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
    except (OSError, ValueError):
        return False
    return '"chat_template": "{#- Plugway demo model.' in text


@lru_cache(maxsize=128)
def _measure(path: Path, files: tuple[tuple[str, int], ...]) -> tuple[int, int]:
    found = [read_weights(path / name) for name, _ in files]
    if not sum(weights.tensors for weights in found):
        raise UnusableModel(f"{path}: its safetensors files contain no weights")
    return sum(w.size for w in found), sum(w.numbers for w in found)


def _other_than_a_folder(path: Path) -> str:
    if path.is_dir():
        return ""
    if not path.exists():
        return "it does not exist"
    if is_gguf(path):
        return "it is a GGUF file, which the plugin `llama-cpp` runs; MLX models are folders"
    if path.suffix == ".safetensors" or path.name == CONFIG:
        return f"it is one file of a model: name its folder, {path.parent}"
    return "it is a file; an MLX model is a folder with `config.json` and `model*.safetensors`"


def is_gguf(path: Path) -> bool:
    """Whether a regular file starts as GGUF files do."""
    if not path.is_file():  # to open a pipe would wait for its other end
        return False
    try:
        with path.open("rb") as file:
            return file.read(len(_GGUF)) == _GGUF
    except OSError:
        return False


def _load(path: Path) -> dict[str, Any]:
    folder = path.parent
    try:
        found = _json(path)
    except FileNotFoundError:
        raise UnusableModel(f"{folder}: {_no_config(folder)}") from None
    except OSError as error:
        raise UnusableModel(f"{path}: it cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise UnusableModel(f"{path}: it is not JSON ({error})") from None
    if not isinstance(found, dict):
        raise UnusableModel(f"{path}: it must be a JSON object")
    config = cast("dict[str, Any]", found)
    if not isinstance(config.get("model_type"), str):
        raise UnusableModel(
            f"{path}: it has no `model_type`, so it is not that of a language model"
        )
    return config


def _json(path: Path) -> Any:
    """The contents of a JSON file. Raises OSError, ValueError or RecursionError."""
    status = path.stat()
    if not S_ISREG(status.st_mode):  # to open a pipe would wait for its other end
        raise ValueError("it is not a regular file")
    if status.st_size > _LARGEST_CONFIG:
        raise ValueError("it is too large")
    return json.loads(path.read_text(encoding="utf-8"))


def _no_config(folder: Path) -> str:
    if (folder / "adapter_config.json").is_file():
        return "it is a LoRA adapter: merge it into its model with `mlx_lm.fuse`"
    if gguf := sorted(folder.glob("*.gguf")):
        return f"it contains the GGUF file {gguf[0].name}, which the plugin `llama-cpp` runs"
    inside = [p.parent.name for p in sorted(folder.glob(f"*/{CONFIG}"))][:_MOST_NAMED]
    if inside:
        return f"it is a folder of models: name one of them, such as `{folder.name}/{inside[0]}`"
    return "it has no `config.json`, so it is not an MLX model"


def _without_parts(path: Path) -> str:
    """What a model lacks; empty if nothing."""
    if not any(path.glob(WEIGHTS)):
        return _no_weights(path)
    if missing := _missing_shards(path):
        more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
        named = ", ".join(missing[:_MOST_NAMED])
        return (
            f"of its weights, {named}{more} are missing. Download the model again with "
            "`plugway models pull`"
        )
    if not any((path / name).is_file() for name in _TOKENIZERS):
        return "it has no tokenizer (`tokenizer.json`)"
    return ""


def _no_weights(path: Path) -> str:
    if gguf := sorted(path.glob("*.gguf")):
        return f"its weights are a GGUF file ({gguf[0].name}), which the plugin `llama-cpp` runs"
    if any(path.glob("*.bin")) or any(path.glob("*.pt")) or any(path.glob("*.pth")):
        return (
            "its weights are in PyTorch's format, which can contain programs and is not read. Use "
            "a repository with safetensors, such as those of `mlx-community`"
        )
    if any(path.glob("*.npz")):
        return "its weights are in MLX's old `.npz` format: convert it with `mlx_lm.convert`"
    if other := sorted(path.glob("*.safetensors")):
        return f"mlx-lm reads `model*.safetensors` only, and it has {other[0].name}"
    return "it has no weights (`model*.safetensors`)"


def _missing_shards(path: Path) -> list[str]:
    """Names of weights that are not in the folder; a name elsewhere is not, either."""
    present = {file.name for file in path.glob("*") if _is_there(file)}
    broken = {file.name for file in path.glob(WEIGHTS)} - present  # such as links to nothing
    try:
        names = {str(name) for name in _json(path / _INDEX)["weight_map"].values()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        names = set[str]()
    return [_shown(name) for name in sorted(names - present | broken)]


def _is_there(path: Path) -> bool:
    """Whether something has that name; a link to nothing has not."""
    try:
        return path.exists()
    except OSError:  # such as a folder that may not be entered
        return False


def _shown(name: str) -> str:
    """A name from a file that anybody may have made, for a message."""
    return name if name.isprintable() and len(name) <= 255 else ascii(name[:80])


def _for_others(path: Path, config: Mapping[str, Any]) -> str:
    """Why mlx-lm cannot or should not load a complete model; empty if it may."""
    if config.get("model_file") is not None:
        return (
            f"it needs its own program, {config['model_file']!r}, which is not run. Use a model "
            "of an architecture that mlx-lm supports"
        )
    if config.get("quantization"):
        return ""
    quantized: Any = config.get("quantization_config")
    if not isinstance(quantized, dict):
        return ""
    method, bits = quantized.get("quant_method"), quantized.get("bits", 4)  # pyright: ignore
    fix = "Use a model that was quantized for MLX, such as those of `mlx-community`"
    if not isinstance(method, str) or method not in _READABLE:
        return f"it is quantized for another program (`quant_method`: {method!r}). {fix}"
    if method in _FOUR_BITS_ONLY and bits != 4:
        return f"it is quantized with {method} to {bits} bits; mlx-lm reads only 4. {fix}"
    return ""
