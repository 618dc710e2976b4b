"""The worker of an embedding model: texts in, vectors out, using llama-cpp-python's `embed`.

An encoder has no conversation to continue: no slots, no prefix cache, no sampling.
"""

from __future__ import annotations

import re
import threading
import time
from array import array
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, cast

import orjson
from llama_cpp import (
    LLAMA_POOLING_TYPE_MEAN,
    LLAMA_POOLING_TYPE_UNSPECIFIED,
    Llama,
    llama_model_n_embd_out,
)

from plugway_llama_cpp._binding import pieces_of
from plugway_llama_cpp._settings import EmbedderSettings
from plugway_local_engine import LoadFailed

if TYPE_CHECKING:
    from plugway_local_engine import Channel, Frame


_STEP: Final = 256
"""llama.cpp's contexts of decoders grow by so many tokens; with a batch of another size than the
context it ends the process."""
_STACK_BYTES: Final = 512 * 2**20
"""llama.cpp splits text by `std::regex`, which takes up to 700 bytes of stack for each character of
a word. Only what a word needs is ever used."""
_MOST_RUN: Final = _STACK_BYTES // 1024
"""Characters of a word, or spaces in a row, that fit into it; a token may be a hundred spaces."""
_RUN: Final = re.compile(r"\S+|\s+")


def main(channel: Channel, config: Mapping[str, Any]) -> None:
    """Called by `plugway_local_engine._worker` in the child."""
    settings = EmbedderSettings(**config)
    began = time.monotonic()
    embedder = Embedder(channel, _load(settings), settings.context)
    seconds = round(time.monotonic() - began, 3)
    channel.send({"op": "ready", "seconds": seconds, "width": embedder.width})
    threading.stack_size(_STACK_BYTES)
    with ThreadPoolExecutor(1) as threads:
        threads.submit(embedder.run).result()


def _load(settings: EmbedderSettings) -> Llama:
    pooling = LLAMA_POOLING_TYPE_UNSPECIFIED if settings.pooled else LLAMA_POOLING_TYPE_MEAN
    context = -(-settings.context // _STEP) * _STEP
    try:
        model = Llama(
            settings.path,
            embedding=True,
            n_ctx=context,
            n_batch=context,
            n_ubatch=context,
            n_threads=settings.threads,
            n_threads_batch=settings.threads,
            n_gpu_layers=settings.gpu_layers,
            pooling_type=pooling,
            verbose=False,
        )
    except (ValueError, MemoryError) as error:
        raise LoadFailed(f"{settings.path}: {error}. See the worker's log") from None
    computed, stated = int(model.n_embd()), int(llama_model_n_embd_out(model.model))
    if stated != computed:  # llama.cpp would read past the end of its own numbers
        raise LoadFailed(
            f"{settings.path}: its header says that its vectors have {stated} numbers "
            f"(`embedding_length_out`), but the model computes {computed}. Use another file of the "
            "model"
        )
    return model


class Embedder:
    """Serves one request after the other."""

    def __init__(self, channel: Channel, model: Llama, most: int) -> None:
        """Texts have at most `most` tokens."""
        self._channel = channel
        self._model = model
        self._most = most
        self.width = int(model.n_embd())
        """Length of the vectors; the header of the file may say another."""
        self._cancelled: set[int] = set()
        channel.on_cancel = self._cancelled.add

    def run(self) -> None:
        """Run until the gateway sends `stop`."""
        while True:
            for frame in self._channel.receive(1.0):
                match frame.header.get("op"):
                    case "embed":
                        self._embed(frame)
                    case "stop":
                        return
                    case _:
                        pass
            self._channel.beat()

    def _embed(self, frame: Frame) -> None:
        """Reply with float32 vectors, one after the other, or with an `error`."""
        number, texts = int(frame.header["id"]), cast("list[str]", orjson.loads(frame.body))
        if (at := next((at for at, text in enumerate(texts) if _has_long_run(text)), -1)) >= 0:
            at += int(frame.header["first"])
            message = f"input[{at}] has a word or space of more than {_MOST_RUN} characters"
            self._end(number, error={"status": 400, "message": message})
            return
        counts = [self._count(text) for text in texts]
        most = self._most
        if long := [(at, count) for at, count in enumerate(counts) if count > most]:
            at, count = long[0]
            at += int(frame.header["first"])
            message = f"input[{at}] has {count} tokens; this model accepts {most}"
            self._end(number, error={"status": 400, "message": message})
            return
        found = array("f")
        for some in _batches(texts, counts, most):
            if number in self._cancelled:
                self._end(number, cancelled=True)
                return
            vectors = self._model.embed(some, normalize=True, truncate=False)
            for vector in cast("list[list[float]]", vectors):
                found.extend(vector)
            self._channel.beat()
        self._end(number, found.tobytes(), tokens=sum(counts))

    def _count(self, text: str) -> int:
        """Tokens of a text, before all of it is tokenized at once."""
        pieces = enumerate(pieces_of(text))
        return sum(len(self._model.tokenize(one.encode(), add_bos=not at)) for at, one in pieces)

    def _end(self, number: int, body: bytes = b"", **said: Any) -> None:
        self._cancelled.discard(number)
        self._channel.send({"id": number, "end": True, **said}, body)


def _has_long_run(text: str) -> bool:
    if len(text) <= _MOST_RUN:
        return False
    return any(run.end() - run.start() > _MOST_RUN for run in _RUN.finditer(text))


def _batches(texts: Sequence[str], counts: Sequence[int], most: int) -> Iterator[list[str]]:
    """The texts in order, in groups of at most `most` tokens, so that a cancel is noticed soon."""
    some: list[str] = []
    size = 0
    for text, count in zip(texts, counts, strict=True):
        if some and size + count > most:
            yield some
            some, size = [], 0
        some.append(text)
        size += count
    yield some
