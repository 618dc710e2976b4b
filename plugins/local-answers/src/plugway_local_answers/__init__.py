"""Replies at once to requests that need no model: probes, titles, topics.

See `_known` for how they are recognized, in pure functions.
"""

from plugway_local_answers._plugin import LocalAnswers, LocalAnswersOptions

__all__ = ["LocalAnswers", "LocalAnswersOptions"]
