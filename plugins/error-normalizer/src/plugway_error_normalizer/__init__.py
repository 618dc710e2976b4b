"""Any upstream's error as the status, type and sentence that the client acts on."""

from plugway_error_normalizer._plugin import ErrorNormalizer, ErrorNormalizerOptions

__all__ = ["ErrorNormalizer", "ErrorNormalizerOptions"]
