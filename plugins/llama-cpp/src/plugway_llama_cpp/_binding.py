"""Typed access to llama.cpp's C interface; apart from `_mtmd`, the only module that uses ctypes.

Other modules decide what to decode. Only worker processes import this one.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportPrivateUsage=false, reportAttributeAccessIssue=false
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false
# pyright: reportArgumentType=false
# llama_cpp declares its functions through an untyped decorator.

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Final

import llama_cpp.llama_cpp as api
import numpy as np
from numpy.typing import NDArray

from plugway_llama_cpp import _native_log
from plugway_local_engine.engine import Sampling, Vocabulary

Tokens = NDArray[np.int32]
Logits = NDArray[np.float32]
Blob = NDArray[np.uint8]

ABORTED: Final = 2
NO_ROOM: Final = 1
KV_TYPES: Final = {"f32": 0, "f16": 1, "q4_0": 2, "q8_0": 8, "bf16": 30}
_MAX_RUN: Final = 2_000
"""Characters without a space, or spaces, that are tokenized at once: llama.cpp splits text by
`std::regex`, which takes stack for each. Of 30,000 letters in a row the process died."""
_RUNS: Final = re.compile(rf"(?<!\S)(?:\S{{{_MAX_RUN}}})++|(?<!\s)(?:\s{{{_MAX_RUN}}})++")
_PARTIAL: Final = 1
_FLASH: Final = {"auto": -1, "off": 0, "on": 1}


def _fast(name: str, arguments: list[Any], result: Any) -> Callable[..., Any]:
    """A second handle on a function, with a result that needs no conversion."""
    function = api._lib[name]
    function.argtypes = arguments
    function.restype = result
    return function


def pieces_of(text: str) -> list[str]:
    """`text` cut within very long runs, always at the same places of a text that grows."""
    found = _RUNS.finditer(text)
    ends = (at for run in found for at in range(run.start() + _MAX_RUN, run.end() + 1, _MAX_RUN))
    return [text[begin:end] for begin, end in pairwise((0, *ends, len(text)))]


def start() -> str:
    """Initialize the library; returns the features of this machine that it can use."""
    api.llama_log_set(_native_log.log_callback, ctypes.c_void_p(0))
    api.llama_backend_init()
    return api.llama_print_system_info().decode()


def version() -> str:
    """Version of the library: the layout of a saved state may change with it."""
    return api.llama_version().decode()


class Model(Vocabulary):
    """Weights and vocabulary."""

    def __init__(
        self, path: str, *, gpu_layers: int = -1, progress: Callable[[float], None] | None = None
    ) -> None:
        """Raises `ValueError` with llama.cpp's reason if it rejects the file."""
        parameters = api.llama_model_default_params()
        parameters.n_gpu_layers = gpu_layers

        @api.llama_progress_callback
        def report(done: float, _data: object) -> bool:
            if progress is not None:
                progress(done)
            return True

        parameters.progress_callback = report
        _native_log.forget()
        handle = api.llama_model_load_from_file(path.encode(), parameters)
        if not handle:
            raise ValueError(_native_log.reason() or "llama.cpp gives no reason")
        self.handle: Any = handle
        self.vocab: Any = api.llama_model_get_vocab(handle)
        self.vocabulary_size: int = api.llama_vocab_n_tokens(self.vocab)
        self.trained_context: int = api.llama_model_n_ctx_train(handle)
        self.window: int = api.llama_model_n_swa(handle)
        """Tokens in the window of a sliding layer; 0 if all layers see all tokens."""
        self.recurrent: bool = api.llama_model_is_recurrent(handle) or api.llama_model_is_hybrid(
            handle
        )
        self.size: int = api.llama_model_size(handle)
        self._pieces: dict[int, bytes] = {}

    @property
    def trimmable(self) -> bool:
        """Whether the state of a sequence can be cut at any token."""
        return self.window == 0 and not self.recurrent

    @property
    def slides(self) -> bool:
        """Whether some or all layers only see a window of the last tokens."""
        return self.window > 0 and not self.recurrent

    @cached_property
    def description(self) -> str:
        """Description such as `gemma3 1B Q4_K - Medium`."""
        buffer = ctypes.create_string_buffer(256)
        api.llama_model_desc(self.handle, buffer, 256)
        return buffer.value.decode("utf-8", "replace")

    @cached_property
    def ends(self) -> frozenset[int]:
        """Tokens that end a turn."""
        is_end = api.llama_vocab_is_eog
        return frozenset(t for t in range(self.vocabulary_size) if is_end(self.vocab, t))

    @cached_property
    def controls(self) -> NDArray[np.bool_]:
        """Which tokens are control tokens."""
        is_control = api.llama_vocab_is_control
        flags = [is_control(self.vocab, t) for t in range(self.vocabulary_size)]
        return np.array(flags, dtype=np.bool_)

    def special(self, name: str) -> int:
        """The id of `bos`, `eos` and so on; -1 if there is none."""
        return int(getattr(api, f"llama_vocab_{name}")(self.vocab))

    @property
    def adds_bos(self) -> bool:
        """Whether a prompt starts with the `bos` token."""
        return bool(api.llama_vocab_get_add_bos(self.vocab))

    def tokenize(self, text: str, *, start: bool = False) -> Tokens:
        """Tokens of `text`, control tokens included; `start` adds `bos` if needed."""
        pieces = pieces_of(text) if self._splits_by_regex else [text]
        found = [self._tokens(piece, start and not at) for at, piece in enumerate(pieces)]
        return found[0] if len(found) == 1 else np.concatenate(found)

    @cached_property
    def _splits_by_regex(self) -> bool:
        return api.llama_vocab_type(self.vocab) == api.LLAMA_VOCAB_TYPE_BPE

    def _tokens(self, text: str, start: bool) -> Tokens:
        data = text.encode("utf-8", "replace")
        room = len(data) + 8
        while True:
            out = np.empty(room, np.int32)
            pointer = out.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
            count = api.llama_tokenize(self.vocab, data, len(data), pointer, room, start, True)
            if count >= 0:
                return out[:count].copy()
            room = -count

    def piece(self, token: int) -> bytes:
        """The bytes of a token, including special ones."""
        piece = self._pieces.get(token)
        if piece is None:
            piece = self._pieces[token] = self._read_piece(token)
        return piece

    def _read_piece(self, token: int) -> bytes:
        buffer = ctypes.create_string_buffer(128)
        length = api.llama_token_to_piece(self.vocab, token, buffer, 128, 0, True)
        if length < 0:
            buffer = ctypes.create_string_buffer(-length)
            length = api.llama_token_to_piece(self.vocab, token, buffer, -length, 0, True)
        return buffer.raw[:length]

    def meta(self, key: str) -> str | None:
        """A metadata value of the file, as text."""
        room = 1024
        buffer = ctypes.create_string_buffer(room)
        length = api.llama_model_meta_val_str(self.handle, key.encode(), buffer, room)
        if length >= room:
            buffer = ctypes.create_string_buffer(length + 1)
            api.llama_model_meta_val_str(self.handle, key.encode(), buffer, length + 1)
        return None if length < 0 else buffer.value.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class ContextSettings:
    """Sizes of a context."""

    cells: int
    """Maximum tokens of all sequences together; shared ones count once."""
    batch: int
    sequences: int
    threads: int
    outputs: int
    """Maximum tokens of one batch that have an output."""
    flash_attention: str = "auto"
    kv_type: str = "f16"


class Context:
    """The state of all sequences, and the batch that is decoded next.

    `tokens`, `positions`, `sequences` and `outputs` are views of the batch: fill the first
    `count` entries and call `decode(count)`.
    """

    def __init__(self, model: Model, settings: ContextSettings) -> None:
        """Raises `MemoryError` with llama.cpp's reason if it cannot create the context."""
        parameters = api.llama_context_default_params()
        parameters.n_ctx = settings.cells
        parameters.n_batch = parameters.n_ubatch = settings.batch
        parameters.n_seq_max = settings.sequences
        parameters.n_outputs_max = settings.outputs
        parameters.n_threads = parameters.n_threads_batch = settings.threads
        parameters.flash_attn_type = _FLASH[settings.flash_attention]
        parameters.type_k = parameters.type_v = KV_TYPES[settings.kv_type]
        parameters.kv_unified = True
        parameters.swa_full = False
        parameters.no_perf = True
        _native_log.forget()
        handle = api.llama_init_from_model(model.handle, parameters)
        if not handle:
            raise MemoryError(_native_log.reason() or "llama.cpp gives no reason")
        self.model = self.traits = model
        self.shared = True
        """Whether all sequences are in one store, so that idle ones slow down the others."""
        self.handle: Any = handle
        self.cells: int = api.llama_n_ctx(handle)
        self.batch: int = settings.batch
        self._memory: Any = api.llama_get_memory(handle)
        self._make_batch(settings.batch)
        self._make_abort()
        self._decode = _fast("llama_decode", [ctypes.c_void_p, api.llama_batch], ctypes.c_int32)
        self._get_logits = _fast("llama_get_logits", [ctypes.c_void_p], ctypes.c_void_p)
        self._threads = settings.threads
        self.only_slides = False
        """Whether every layer only sees the window; known after `look_at_layers`."""
        self._logits_at = 0
        self._logits = np.empty((0, 0), np.float32)

    def _make_batch(self, size: int) -> None:
        self.tokens: Tokens = np.zeros(size, np.int32)
        self.positions: Tokens = np.zeros(size, np.int32)
        self.sequences: Tokens = np.zeros(size, np.int32)
        self.outputs: NDArray[np.int8] = np.zeros(size, np.int8)
        self._ones = np.ones(size, np.int32)
        self._pointers = (self.sequences.ctypes.data + 4 * np.arange(size)).astype(np.uintp)
        int32 = ctypes.POINTER(ctypes.c_int32)
        self._batch = api.llama_batch(
            n_tokens=0,
            token=self.tokens.ctypes.data_as(int32),
            embd=None,
            pos=self.positions.ctypes.data_as(int32),
            n_seq_id=self._ones.ctypes.data_as(int32),
            seq_id=self._pointers.ctypes.data_as(ctypes.POINTER(int32)),
            logits=self.outputs.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )

    def _make_abort(self) -> None:
        """Set up aborting without the interpreter: the callback runs between any two graph nodes.

        `strlen` has the callback's signature, and the flag is an empty or non-empty string. A
        Python callback would take the interpreter lock hundreds of times per token.
        """
        self._flag = ctypes.create_string_buffer(b"\0\0", 2)
        library = ctypes.CDLL(None) if sys.platform != "win32" else ctypes.cdll.msvcrt
        callback = ctypes.cast(library.strlen, api.ggml_abort_callback)
        api.llama_set_abort_callback(self.handle, callback, ctypes.addressof(self._flag))
        self._callback = callback

    def abort(self, wanted: bool) -> None:
        """Make the running decode return `ABORTED` soon; may be called from any thread."""
        self._flag[0] = b"x" if wanted else b"\0"

    def decode(self, count: int) -> int:
        """Compute the first `count` tokens of the batch. Returns 0, `NO_ROOM`, `ABORTED`, or a
        negative error."""
        self._batch.n_tokens = count
        return int(self._decode(self.handle, self._batch))

    def set_threads(self, threads: int) -> None:
        """Set the threads of the next decode. llama.cpp only distinguishes one token from more."""
        if threads != self._threads:
            self._threads = threads
            api.llama_set_n_threads(self.handle, threads, threads)

    def logits(self, rows: int) -> Logits:
        """Output rows of the last decode in batch order; writable, valid until the next decode."""
        address = self._get_logits(self.handle)
        if address != self._logits_at or len(self._logits) < rows:
            width = self.model.vocabulary_size
            pointer = ctypes.cast(address, ctypes.POINTER(ctypes.c_float))
            self._logits = np.ctypeslib.as_array(pointer, (rows, width))
            self._logits_at = address
        return self._logits

    def remove(self, sequence: int, start: int, end: int = -1) -> bool:
        """Remove positions from `start` up to `end`; False if the model does not support that."""
        return bool(api.llama_memory_seq_rm(self._memory, sequence, start, end))

    def copy(self, source: int, target: int, end: int) -> None:
        """Let `target` share the first `end` positions of `source`."""
        api.llama_memory_seq_cp(self._memory, source, target, 0, end)

    def first_position(self, sequence: int) -> int:
        """The lowest position in the state; -1 for an empty sequence."""
        return int(api.llama_memory_seq_pos_min(self._memory, sequence))

    def last_position(self, sequence: int) -> int:
        """The highest position; -1 for an empty sequence."""
        return int(api.llama_memory_seq_pos_max(self._memory, sequence))

    def size_of(self, sequence: int) -> int:
        """Size in bytes of the complete state of a sequence."""
        return int(api.llama_state_seq_get_size_ext(self.handle, sequence, 0))

    def look_at_layers(self, sequence: int, tokens: int) -> None:
        """Find out from a sequence of `tokens` whether every layer slides, which llama.cpp does not
        report.

        If so, its state contains, besides the windows, only 8 bytes per token and a few numbers;
        one layer that sees all tokens would add its keys and values.
        """
        partial = api.llama_state_seq_get_size_ext(self.handle, sequence, _PARTIAL)
        rest = self.size_of(sequence) - partial
        self.only_slides = self.model.slides and rest < 64 + 16 * tokens

    def save(self, sequence: int, *, partial: bool) -> Blob:
        """The state of a sequence; `partial` leaves out what can be cut at any token."""
        flags = _PARTIAL if partial else 0
        size = api.llama_state_seq_get_size_ext(self.handle, sequence, flags)
        blob = np.empty(size, np.uint8)
        pointer = blob.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        written = api.llama_state_seq_get_data_ext(self.handle, pointer, size, sequence, flags)
        return blob[:written]

    def load(self, sequence: int, blob: Blob, *, partial: bool) -> bool:
        """Load a saved state into a sequence; False if it does not fit."""
        flags = _PARTIAL if partial else 0
        pointer = blob.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        size = len(blob)
        return api.llama_state_seq_set_data_ext(self.handle, pointer, size, sequence, flags) == size


class Sampler:
    """A chain of llama.cpp's samplers."""

    def __init__(self, settings: Sampling) -> None:
        self.settings = settings
        self._chain: Any = api.llama_sampler_chain_init(api.llama_sampler_chain_default_params())
        if settings.top_k > 0:
            self._add(api.llama_sampler_init_top_k(settings.top_k))
        if settings.top_p < 1:
            self._add(api.llama_sampler_init_top_p(settings.top_p, 1))
        if settings.min_p > 0:
            self._add(api.llama_sampler_init_min_p(settings.min_p, 1))
        self._add(api.llama_sampler_init_temp(settings.temperature))
        self._add(api.llama_sampler_init_dist(settings.seed))
        self._sample = _fast(
            "llama_sampler_sample",
            [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32],
            ctypes.c_int32,
        )

    def _add(self, sampler: object) -> None:
        api.llama_sampler_chain_add(self._chain, sampler)

    def sample(self, context: Context, index: int) -> int:
        """Choose from the logits of the batch's token `index`."""
        return int(self._sample(self._chain, context.handle, index))

    def close(self) -> None:
        """Free the chain."""
        if self._chain is not None:
            api.llama_sampler_free(self._chain)
            self._chain = None
