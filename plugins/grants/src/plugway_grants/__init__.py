"""What a request chooses besides a model; see the README."""

from plugway_grants._addresses import add_upstream_host
from plugway_grants._choices import (
    QUERY,
    choice_in,
    choice_in_messages,
    is_choice,
    is_choice_in_query,
    is_known,
    passes,
)

__all__ = [
    "QUERY",
    "add_upstream_host",
    "choice_in",
    "choice_in_messages",
    "is_choice",
    "is_choice_in_query",
    "is_known",
    "passes",
]
