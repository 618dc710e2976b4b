"""Turns any upstream's error into the status, type and message that the client understands."""

from plugway_error_normalizer._plugin import ErrorNormalizer, ErrorNormalizerOptions

__all__ = ["ErrorNormalizer", "ErrorNormalizerOptions"]
