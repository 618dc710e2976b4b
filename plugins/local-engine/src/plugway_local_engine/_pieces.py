"""A rendered prompt as tokens, including its images, and the mapping from characters to tokens."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from plugway_local_engine._contract import Tokens, Vocabulary

UNREADABLE = "[an image that cannot be read: {}]"


class UnreadableImage(ValueError):
    """The image cannot be shown to the model; the message has the reason."""


@dataclass(frozen=True, slots=True)
class Picture:
    """An image in a prompt."""

    tokens: Tokens
    parts: tuple[tuple[int, Any], ...]
    """Index in `tokens` where each part starts, and the part in the engine's form."""

    @property
    def size(self) -> int:
        """Tokens of its embeddings."""
        return sum(media.tokens for _, media in self.parts)


class Pictures(Protocol):
    """The images that an engine can read."""

    @property
    def marker(self) -> str:
        """Text in a prompt that stands for image number `{}`."""
        ...

    def picture(self, source: Mapping[str, Any], caller: str) -> Picture:
        """The image of a base64 source.

        Raises:
            UnreadableImage: it cannot be shown.
        """
        ...


@dataclass
class _Span:
    """Text between two images."""

    text: str
    start: int
    """Index of its first character in the prompt."""
    first: int
    """Index of its first token."""
    tokens: Tokens
    lengths: NDArray[np.int64]

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        return np.cumsum(self.lengths[self.tokens])

    def position(self, offset: int) -> int:
        """The index of the token after the first `offset` characters of the prompt."""
        size = len(self.text[: offset - self.start].encode("utf-8", "replace"))
        return self.first + int(np.searchsorted(self._ends, size, side="right"))


@dataclass
class Pieces:
    """The complete prompt."""

    model: Vocabulary
    spans: list[_Span] = field(default_factory=list["_Span"])
    runs: list[Tokens] = field(default_factory=list["Tokens"])
    media: list[tuple[int, Any]] = field(default_factory=list["tuple[int, Any]"])
    """Parts of images, with the index of their first token."""
    notes: list[str] = field(default_factory=list[str])
    length: int = 0

    @property
    def tokens(self) -> Tokens:
        """The tokens; negative ones stand for images."""
        return self.runs[0] if len(self.runs) == 1 else np.concatenate(self.runs)

    def position(self, offset: int) -> int:
        """The index of the token after the first `offset` characters."""
        found = self.spans[0]
        for span in self.spans:
            if span.start > offset:
                break
            found = span
        return found.position(offset)

    def add_text(self, text: str, start: int) -> None:
        """Add text that starts at character `start`."""
        tokens = self.model.tokenize(text, start=not self.runs and self._adds_bos(text))
        lengths = self.model.piece_lengths
        self.spans.append(_Span(text, start, self.length, tokens, lengths))
        self._add(tokens)

    def add_picture(self, picture: Picture) -> None:
        """Add an image, with the text that the model needs around it."""
        self.media += [(self.length + at, media) for at, media in picture.parts]
        self._add(picture.tokens)

    def _add(self, tokens: Tokens) -> None:
        self.runs.append(tokens)
        self.length += len(tokens)

    def _adds_bos(self, text: str) -> bool:
        bos = self.model.special("bos")
        begins = bos >= 0 and text.startswith(self.model.piece(bos).decode("utf-8", "replace"))
        return self.model.adds_bos and not begins


def to_pieces(
    model: Vocabulary,
    text: str,
    images: Pictures | None,
    sources: Sequence[Mapping[str, Any]],
    caller: str = "",
) -> Pieces:
    """`text` as tokens, with the images of `sources` in place of their markers."""
    pieces = Pieces(model)
    if images is None or not sources:
        pieces.add_text(text, 0)
        return pieces
    before, after = images.marker.split("{}")
    at, held = 0, ""
    for match in re.finditer(re.escape(before) + r"(\d+)" + re.escape(after), text):
        held += text[at : match.start()]
        try:
            picture = images.picture(sources[int(match[1])], caller)
        except UnreadableImage as error:
            pieces.notes.append(f"drop image: {error}; replaced with a placeholder")
            held += UNREADABLE.format(error)
        else:
            pieces.add_text(held, match.start() - len(held))
            pieces.add_picture(picture)
            held = ""
        at = match.end()
    pieces.add_text(held + text[at:], at - len(held))
    return pieces
