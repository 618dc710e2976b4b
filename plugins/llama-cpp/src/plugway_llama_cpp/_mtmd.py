"""Typed access to llama.cpp's multimodal library; the other module that uses ctypes.

It counts an image's tokens, computes its embeddings, and adds them to a context. `_images` and
`_engine` decide which images are computed, and when. Only the worker imports this module.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportPrivateUsage=false, reportArgumentType=false
# llama_cpp declares its functions through an untyped decorator.

from __future__ import annotations

import ctypes
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import llama_cpp.llama_cpp as api
import llama_cpp.mtmd_cpp as mtmd
import numpy as np

from plugway_llama_cpp import _native_log

if TYPE_CHECKING:
    from plugway_llama_cpp._binding import Context, Logits, Model, Tokens

_MARKER: Final = b"<__media__>"
_NO_CALLBACK: Final = mtmd.mtmd_helper_post_decode_callback(0)


class Media:
    """A part of an image that is encoded at once."""

    def __init__(self, chunk: Any, tokens: int, positions: int, both_ways: bool) -> None:
        self.chunk = chunk
        self.tokens = tokens
        """Number of its embeddings in the context."""
        self.positions = positions
        """Number of its positions; with M-RoPE fewer than tokens."""
        self.both_ways = both_ways
        """Whether its tokens see each other, so that all must be in one micro-batch."""
        weakref.finalize(self, mtmd.mtmd_input_chunk_free, chunk)


@dataclass(frozen=True, slots=True)
class Piece:
    """Text tokens that the model needs around an image, or a part of the image."""

    tokens: Tokens
    media: Media | None = None


class Projector:
    """The part of a model that turns images into embeddings (an `mmproj` file)."""

    def __init__(self, path: str, model: Model, *, threads: int, batch: int) -> None:
        """Raises `ValueError` if the library rejects the file, or it is for another model."""
        mtmd.mtmd_helper_log_set(_native_log.log_callback, ctypes.c_void_p(0))
        self._handle = _open(path, model, threads, 0)
        if mtmd.mtmd_decode_use_non_causal(self._handle, None):
            # Images with attention in both directions must fit into one micro-batch.
            mtmd.mtmd_free(self._handle)
            self._handle = _open(path, model, threads, batch)
        if not mtmd.mtmd_support_vision(self._handle):
            raise ValueError("it does not support images")
        self.width: int = api.llama_model_n_embd_inp(model.handle)

    def split(self, data: bytes) -> list[Piece]:
        """The pieces of one image file (JPEG, PNG, GIF, BMP).

        Raises `ValueError` if it cannot be decoded.
        """
        buffer = (ctypes.c_uint8 * len(data)).from_buffer_copy(data)
        bitmap = mtmd.mtmd_helper_bitmap_init_from_buf(self._handle, buffer, len(data), False)
        if not bitmap:
            raise ValueError("it is damaged, or not a JPEG, PNG, GIF or BMP")
        chunks = mtmd.mtmd_input_chunks_init()
        try:
            text = mtmd.mtmd_input_text(_MARKER, len(_MARKER), False, True)
            bitmaps = (ctypes.c_void_p * 1)(bitmap)
            status = mtmd.mtmd_tokenize(self._handle, chunks, ctypes.byref(text), bitmaps, 1)
            if status != 0:
                raise ValueError("it cannot be resized for the model")
            count = mtmd.mtmd_input_chunks_size(chunks)
            return [self._piece(mtmd.mtmd_input_chunks_get(chunks, n)) for n in range(count)]
        finally:
            mtmd.mtmd_input_chunks_free(chunks)
            mtmd.mtmd_bitmap_free(bitmap)

    def _piece(self, chunk: Any) -> Piece:
        kind = mtmd.mtmd_input_chunk_get_type(chunk)
        if kind == mtmd.MTMD_INPUT_CHUNK_TYPE_TEXT:
            size = ctypes.c_size_t()
            tokens: Any = mtmd.mtmd_input_chunk_get_tokens_text(chunk, ctypes.byref(size))
            return Piece(np.array(tokens[: size.value], np.int32))
        if kind != mtmd.MTMD_INPUT_CHUNK_TYPE_IMAGE:
            raise ValueError("it is audio, not an image")
        media = Media(
            mtmd.mtmd_input_chunk_copy(chunk),
            mtmd.mtmd_input_chunk_get_n_tokens(chunk),
            mtmd.mtmd_input_chunk_get_n_pos(chunk),
            mtmd.mtmd_decode_use_non_causal(self._handle, chunk),
        )
        return Piece(np.empty(0, np.int32), media)

    def encode(self, media: Media) -> Logits:
        """The embeddings, one row per token; takes long. One call at a time.

        Raises `RuntimeError` if the library fails.
        """
        if mtmd.mtmd_encode_chunk(self._handle, media.chunk) != 0:
            raise RuntimeError("the image projector failed; check the worker's log")
        pointer = mtmd.mtmd_get_output_embd(self._handle)
        return np.ctypeslib.as_array(pointer, (media.tokens, self.width)).copy()

    def decode(
        self, context: Context, media: Media, rows: Logits, sequence: int, position: int
    ) -> int:
        """Add embeddings to a sequence from `position` on; returns the same as `Context.decode`."""
        after = api.llama_pos(0)
        return int(
            mtmd.mtmd_helper_decode_image_chunk(
                self._handle,
                context.handle,
                media.chunk,
                rows.ctypes.data_as(ctypes.POINTER(ctypes.c_float)),
                position,
                sequence,
                context.batch,
                ctypes.byref(after),
                _NO_CALLBACK,
                ctypes.c_void_p(0),
            )
        )


def _open(path: str, model: Model, threads: int, most: int) -> Any:
    parameters = mtmd.mtmd_context_params_default()
    parameters.n_threads = threads
    parameters.print_timings = False
    parameters.warmup = False
    if most:
        parameters.image_max_tokens = most
    _native_log.forget()
    handle = mtmd.mtmd_init_from_file(path.encode(), model.handle, parameters)
    if not handle:
        raise ValueError(_native_log.reason() or "llama.cpp gives no reason")
    return handle
