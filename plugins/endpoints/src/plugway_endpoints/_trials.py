"""What people can try on a page besides models, as other plugins find it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Protocol, runtime_checkable


class Trial(NamedTuple):
    """A route that a page can offer as a form."""

    kind: Literal["read", "hear", "speak", "enlarge"]
    """`read`: a form with `file`, a picture; the answer has `text`, `width`, `height`, and `lines`
    with `text` and `box` in reading order. `hear`: as OpenAI's transcriptions, with `stream`.
    `speak`: as OpenAI's speech. `enlarge`: a form with `image`, a picture, and
    `response_format=image`; the answer is the picture."""
    path: str
    """Path of the route."""
    limited_callers: bool
    """Whether callers with a limited token may use it."""
    max_size: int
    """Most bytes of a file, or most characters of a text."""
    problem: str = ""
    """What is missing on this machine; empty if nothing is."""
    choices: Mapping[str, Sequence[str]] = {}
    """Further fields with their values, the default first."""
    voices: str = ""
    """For `speak`: path of the list of voices, `{"voices": [{"id": ..., "language": ...}]}`."""


@runtime_checkable
class OffersTrials(Protocol):
    """A plugin with routes to try: `Gateway.find(OffersTrials)`."""

    def trials(self) -> Sequence[Trial]:
        """Its routes. Called in a thread, because it looks at what is installed."""
        ...
