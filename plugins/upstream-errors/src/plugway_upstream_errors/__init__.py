"""What the errors of model servers mean: a library, not a plugin.

`meaning_of` reads a failure by the table `wording.toml`; the sentences are those that Claude Code
acts on. `error-normalizer` tells them, `context-guard` learns from them.
"""

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
from plugway_upstream_errors._opening import Resumed, is_error, opened, status_in
from plugway_upstream_errors._sentences import (
    LEAST_ROOM,
    TOO_LONG,
    fit_to_tell,
    max_tokens_sentence,
    overflow_sentence,
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
    "fit_to_tell",
    "is_error",
    "max_tokens_sentence",
    "meaning_of",
    "opened",
    "overflow_sentence",
    "retry_after",
    "status_in",
    "unwrap",
    "window_sentence",
]
