"""Answers requests that need no model at once: probes, titles, topics.

Which requests those are is in `_known`, as pure functions.
"""

from plugway_local_answers._plugin import LocalAnswers, LocalAnswersOptions

__all__ = ["LocalAnswers", "LocalAnswersOptions"]
