"""A model of mlx-lm with its vocabulary. Only the worker process imports this module.

See `_context` for the states of sequences.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np

from plugway_local_engine import GrammarTokenizer
from plugway_local_engine.engine import Vocabulary
from plugway_mlx import _mlx

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from plugway_local_engine.engine import Tokens

CUT_ANYWHERE: Final = frozenset({"KVCache", "QuantizedKVCache", "ConcatenateKVCache"})
"""Caches of mlx-lm that can be cut at any token (`mlx_lm.models.cache`)."""
_SLIDING: Final = frozenset({"RotatingKVCache", "ChunkedKVCache"})
_READ_AS_IT_IS: Final = False
"""For the tokenizer's `add_special_tokens`: the chat template has written them."""

_NO_PROGRAMS: Final[Mapping[str, Any]] = {"trust_remote_code": False}
"""Without it, transformers asks on standard input whether to run a program of the folder."""


class Model(Vocabulary):
    """Weights and vocabulary."""

    def __init__(self, folder: Path) -> None:
        """Raises what mlx-lm and the tokenizer raise if they reject the folder."""
        network, config = _mlx.models.load_model(folder)
        self.network: Any = network
        self.config: Mapping[str, Any] = config
        self._wrapper: Any = _mlx.models.load_tokenizer(
            folder, _NO_PROGRAMS, eos_token_ids=config.get("eos_token_id")
        )
        backend: Any = self._wrapper.backend_tokenizer
        backend.no_padding()
        backend.no_truncation()
        self._backend = backend
        made = _mlx.caches.make_prompt_cache(network)
        self.kinds: tuple[str, ...] = tuple(type(cache).__name__ for cache in made)
        self.vocabulary_size = int(backend.get_vocab_size(with_added_tokens=True))
        self._serialized: str = backend.to_str()
        self._inner = self.grammars(sorted(self.ends)).inner
        self._pieces: dict[int, bytes] = {}

    @property
    def trimmable(self) -> bool:
        """Whether the state of a sequence can be cut at any token."""
        return CUT_ANYWHERE.issuperset(self.kinds)

    @property
    def window(self) -> int:
        """Tokens in the window of a sliding layer; 0 if all layers see all tokens."""
        return int(self.config.get("sliding_window") or 0) if not self.trimmable else 0

    @property
    def recurrent(self) -> bool:
        """Whether some layers keep a summary instead of tokens."""
        return not (CUT_ANYWHERE | _SLIDING).issuperset(self.kinds)

    @property
    def description(self) -> str:
        """Architecture and number format, such as `qwen3, 4 bits`."""
        kind = str(self.config.get("model_type", "unknown"))
        quantization: Any = self.config.get("quantization") or {}
        bits: Any = quantization.get("bits")
        return f"{kind}, {bits} bits" if bits else kind

    @cached_property
    def ends(self) -> frozenset[int]:
        """Tokens that end a turn: those of the configuration and of the tokenizer."""
        return frozenset(int(token) for token in self._wrapper.eos_token_ids)

    @cached_property
    def controls(self) -> NDArray[np.bool_]:
        """Which tokens are control tokens."""
        flags = np.zeros(self.vocabulary_size, np.bool_)
        for token, added in self._backend.get_added_tokens_decoder().items():
            flags[token] = bool(added.special)
        return flags

    @property
    def adds_bos(self) -> bool:
        """Whether a prompt starts with the `bos` token: what the tokenizer does with a text."""
        bos = self.special("bos")
        return bos >= 0 and self._backend.encode("a").ids[:1] == [bos]

    def special(self, name: str) -> int:
        """The id of `bos` or `eos`; -1 if there is none."""
        found = getattr(self._wrapper, f"{name}_token_id", None)
        return -1 if found is None else int(found)

    def tokenize(self, text: str, *, start: bool = False) -> Tokens:
        """Tokens of `text`, control tokens included; `start` adds `bos` if the model needs it."""
        clean = text.encode("utf-8", "replace").decode()
        ids = self._backend.encode(clean, add_special_tokens=_READ_AS_IT_IS).ids
        first = [self.special("bos")] if start and self.adds_bos else []
        return np.array([*first, *ids], np.int32)

    def piece(self, token: int) -> bytes:
        """The bytes of a token, including special ones."""
        piece = self._pieces.get(token)
        if piece is None:
            raw = self._inner.decode_bytes([token]) if token < self.vocabulary_size else b""
            piece = self._pieces[token] = raw.removeprefix(b"\xff")
        return piece

    def grammars(self, ends: Sequence[int]) -> GrammarTokenizer:
        """The vocabulary for grammars; `ends` are the tokens that end a turn."""
        text, size = self._serialized, self.vocabulary_size
        return GrammarTokenizer.of_hugging_face(text, size, eos=ends)


def chat_template(folder: Path) -> str | None:
    """The chat template of a model's folder: in a file of its own, or in `tokenizer_config.json`,
    where several have names."""
    for name, read in _TEMPLATES.items():
        path = folder / name
        if path.is_file() and (text := read(path.read_text(encoding="utf-8"))):
            return text
    return None


def _configured(text: str) -> str:
    found: Any = json.loads(text).get("chat_template")
    if isinstance(found, list):
        named = cast("list[dict[str, str]]", found)
        by_name = {entry["name"]: entry["template"] for entry in named}
        return by_name.get("tool_use") or by_name.get("default", "")
    return str(found or "")


_TEMPLATES: Final[Mapping[str, Callable[[str], str]]] = {
    "chat_template.jinja": str,
    "chat_template.json": _configured,
    "tokenizer_config.json": _configured,
}
