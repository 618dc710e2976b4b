"""The log of the gateway, and the redaction of secrets in logs and errors; see the README."""

from plugway_log._blocks import muted, warnings_logged
from plugway_log._log import (
    JsonFormatter,
    LogWriter,
    TextFormatter,
    configure,
    log_uncaught,
    redact,
    silence_libraries,
)
from plugway_log._secrets import (
    CleanStream,
    bytes_without_secrets,
    clean_reply,
    holds_secret,
    register_secret,
    without_secrets,
)
from plugway_log._trace import Recorded, described

__all__ = [
    "CleanStream",
    "JsonFormatter",
    "LogWriter",
    "Recorded",
    "TextFormatter",
    "bytes_without_secrets",
    "clean_reply",
    "configure",
    "described",
    "holds_secret",
    "log_uncaught",
    "muted",
    "redact",
    "register_secret",
    "silence_libraries",
    "warnings_logged",
    "without_secrets",
]
