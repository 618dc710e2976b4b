"""Interprets the errors of model servers: a library, not a plugin.

`meaning_of` matches a failure against the table `wording.toml`. The sentences are those that Claude
Code understands; `error-normalizer` sends them, `context-guard` learns from them.
"""

from plugway_upstream_errors._forms import is_error, status_in
from plugway_upstream_errors._limits import Learned
from plugway_upstream_errors._meaning import (
    KINDS,
    WORDINGS,
    KindRule,
    Meaning,
    Wording,
    meaning_of,
    retry_after,
)
from plugway_upstream_errors._opening import Resumed, WrappedChunks, opened
from plugway_upstream_errors._sentences import (
    LEAST_ROOM,
    TOO_LONG,
    max_tokens_sentence,
    overflow_sentence,
    quotable,
    window_sentence,
)
from plugway_upstream_errors._unwrap import Facts, unwrap

__all__ = [
    "KINDS",
    "LEAST_ROOM",
    "TOO_LONG",
    "WORDINGS",
    "Facts",
    "KindRule",
    "Learned",
    "Meaning",
    "Resumed",
    "Wording",
    "WrappedChunks",
    "is_error",
    "max_tokens_sentence",
    "meaning_of",
    "opened",
    "overflow_sentence",
    "quotable",
    "retry_after",
    "status_in",
    "unwrap",
    "window_sentence",
]
