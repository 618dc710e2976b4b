"""The log: a thread formats and writes the records, without secrets.

Logging only appends to a bounded queue; records that cannot be written are counted and dropped.
"""

from __future__ import annotations

import atexit
import collections
import json
import logging
import re
import sys
import threading
import time
import warnings
from functools import lru_cache
from typing import Any, Final, TextIO

import orjson

from plugway_log._secrets import SHORTEST, without_secrets
from plugway_log._trace import trace

_log = logging.getLogger("plugway.process")

QUEUE_RECORDS: Final = 10_000
"""Most waiting records; beyond that the oldest is dropped."""
BATCH_RECORDS: Final = 1000
"""Most records in one write."""
GATHER_SECONDS: Final = 0.02
"""Time to gather records, so that the event loop is not interrupted for each one."""

_ALWAYS: Final = frozenset(("caller",))
"""Extra fields that are shown even if the message contains the same word."""
_STANDARD = frozenset(
    (*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", "color_message")
)
_CONTROL = {
    code: f"\\u{code:04x}"
    for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F))
}
_VALUE = r"[^\s\"'\\,;&)}\]]+"
_SEPARATOR = r"[\\\"']{0,4}\s{0,3}[:=,]\s{0,3}(?:b(?=[\\\"']))?[\\\"']{0,4}"
_SCHEMES = "(?:basic|bearer|digest|negotiate|token)"
_PATTERNS: Final = tuple(
    # Searching for the word first is ten times as fast, and most lines contain none.
    (word, re.compile(pattern, re.IGNORECASE), replacement)
    for word, pattern, replacement in (
        ("bearer", rf"(\bbearer\s+){_VALUE}", r"\1***"),
        ("auth", rf"(authorization{_SEPARATOR}(?:{_SCHEMES}\s+)?){_VALUE}", r"\1***"),
        ("api", rf"((?:x-|x-goog-)?api[-_]?key{_SEPARATOR}){_VALUE}", r"\1***"),
        ("cookie", rf"(cookie{_SEPARATOR})[^\"'\\\n]+", r"\1***"),
        ("key=", rf"([?&]key=){_VALUE}", r"\1***"),
        ("token=", rf"([?&](?:access_)?token=){_VALUE}", r"\1***"),
        ("sk-", r"\bsk-[A-Za-z0-9_-]{8,}", "sk-***"),
    )
)


def redact(text: str) -> str:
    """`text` without registered secrets and anything that looks like a credential."""
    text = without_secrets(text, "***", SHORTEST)
    lower = text.lower()
    for word, pattern, replacement in _PATTERNS:
        if word in lower:
            text = pattern.sub(replacement, text)
    return text


_SENSITIVE_LOGGERS: Final = (
    *("httpcore2", "httpcore2.connection", "httpcore2.http11", "httpcore2.http2"),
    *("httpcore2.proxy", "httpcore2.socks", "httpx2", "hpack", "hpack.hpack", "hpack.table"),
)
"""Loggers of libraries that handle credentials, such as a SOCKS login or request headers."""


def silence_libraries() -> None:
    """Drop their records below `WARNING` with a filter, because any code could set the level."""
    for name in _SENSITIVE_LOGGERS:
        logging.getLogger(name).addFilter(_is_warning)


def _is_warning(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING


class JsonFormatter(logging.Formatter):
    """One JSON object per record: time, level, logger, message, and the fields in `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line of JSON."""
        line: dict[str, Any] = {
            "time": _timestamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extra(record),
        }
        if record.exc_info:
            line["error"] = "\n".join(trace(record.exc_info[1]))
        options = orjson.OPT_NON_STR_KEYS
        return redact(_visible(orjson.dumps(line, default=str, option=options).decode()))


class TextFormatter(logging.Formatter):
    """Readable text; further lines of a record and its traceback are indented."""

    def __init__(self, *, colour: bool = False) -> None:
        super().__init__()
        self.colour = colour

    def format(self, record: logging.LogRecord) -> str:
        """A line such as `12:30:01 INFO plugway.router: text key=value`."""
        clock = _clock(int(record.created))
        message = record.getMessage()
        extra = _fields(record, message)
        text, *more = map(_visible, f"{message}{extra}".split("\n"))
        level = record.levelname
        if self.colour:
            level = f"\x1b[{_COLOURS.get(level, '0')}m{level}\x1b[0m"
        lines = [redact(f"{clock} {level} {_visible(record.name)}: {text}")]
        lines += [f"    {redact(line)}" for line in more]
        if record.exc_info:
            lines += [f"    {redact(_visible(line))}" for line in trace(record.exc_info[1])]
        return "\n".join(lines)


MAX_VALUE: Final = 400
"""Characters of a field's value in readable text."""
_PLAIN: Final = re.compile(r"[\w./:@%+,;*-]+")
_COLOURS = {"DEBUG": "2", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "31;1"}


def _is_ours(record: logging.LogRecord) -> bool:
    return record.name.startswith("plugway")


def _without_values(record: logging.LogRecord) -> str:
    """A library's log message without its values, which may be part of a request.

    It is the format string if there are arguments; of asyncio the text before the first value;
    any other text is omitted.
    """
    text = str(record.msg)
    if record.args:
        return text
    return _VALUE_IN_TEXT.split(text, 1)[0] if record.name == "asyncio" else "(text omitted)"


_VALUE_IN_TEXT: Final = re.compile(r"[\n<'\"(]")


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    if not _is_ours(record):
        return {}
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}


def _fields(record: logging.LogRecord, message: str) -> str:
    """The extra fields as text, without those that are empty or repeat a word of the message."""
    if not _is_ours(record):
        return ""
    words = message.split()
    pieces: list[str] = []
    for key, value in vars(record).items():
        if key in _STANDARD or value is None or value == "":
            continue
        repeated = isinstance(value, str) and (value in words or message.endswith(value))
        if repeated and key not in _ALWAYS:
            continue
        text = repr(value) if type(value) in _NUMBERS else _quoted(value)
        pieces.append(f" {key}={text}")
    return "".join(pieces)


_NUMBERS: Final = (int, float)


def _quoted(value: object) -> str:
    """A value, quoted unless it is a plain word, so that it does not look like another field."""
    text = str(value)
    if len(text) > MAX_VALUE:
        text = f"{text[:MAX_VALUE]}…"
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def _visible(text: str) -> str:
    return text if text.isprintable() else text.translate(_CONTROL)


@lru_cache(maxsize=4)
def _clock(seconds: int) -> str:
    return time.strftime("%H:%M:%S", time.localtime(seconds))


@lru_cache(maxsize=4)
def _moment(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def _timestamp(seconds: float) -> str:
    return f"{_moment(int(seconds))}.{int(seconds % 1 * 1000):03d}Z"


class LogWriter(logging.Handler):
    """Passes records to a thread that formats and writes them; never blocks, never raises."""

    def __init__(self, stream: TextIO, formatter: logging.Formatter) -> None:
        super().__init__()
        self.stream = stream
        self.setFormatter(formatter)
        self.dropped = 0
        """Lost records: the queue was full, or writing failed."""
        self._records: collections.deque[logging.LogRecord] = collections.deque(
            maxlen=QUEUE_RECORDS
        )
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._reported = 0
        self._thread = threading.Thread(target=self._run, name="plugway-log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the record; its message is formatted now because its arguments may change."""
        try:
            if not _is_ours(record):
                record.msg, record.args = _without_values(record), None
            elif record.args:
                record.msg, record.args = record.getMessage(), None
        except Exception:  # a wrong format string is the caller's bug and must not stop a request
            record.msg, record.args = f"{record.msg} (arguments do not match)", None
        if len(self._records) == QUEUE_RECORDS:
            self.dropped += 1
        self._records.append(record)  # drops the oldest if the queue is full
        if not self._wake.is_set():
            self._wake.set()

    def close(self) -> None:
        """Write the queued records, for at most one second, and end the thread."""
        logging.getLogger().removeHandler(self)
        self._stopping.set()
        self._wake.set()
        self._thread.join(1.0)
        super().close()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._stopping.wait(GATHER_SECONDS)
            self._wake.clear()
            while self._records:
                self._write([self._records.popleft() for _ in range(self._batch())])
            if self._stopping.is_set() and not self._records:
                return

    def _batch(self) -> int:
        return min(len(self._records), BATCH_RECORDS)

    def _write(self, records: list[logging.LogRecord]) -> None:
        """Write all records at once: each write releases the GIL and must acquire it again, which
        would take a tenth of the time of a small request."""
        lost = self.dropped - self._reported
        notice = [_notice(lost)] if lost else []
        text = "".join(f"{self._line(record)}\n" for record in (*notice, *records))
        try:
            self.stream.write(text)
            self.stream.flush()
            self._reported += lost
        except (OSError, ValueError):  # disk full, broken pipe, stream closed
            self.dropped += len(records)

    def _line(self, record: logging.LogRecord) -> str:
        try:
            return self.format(record)
        except Exception as error:  # an `extra` value that cannot be printed
            return f"a record of {record.name} cannot be formatted: {type(error).__name__}"


def _notice(lost: int) -> logging.LogRecord:
    text = f"{lost} log records were dropped"
    return logging.makeLogRecord(
        {"name": __name__, "levelno": logging.WARNING, "levelname": "WARNING", "msg": text}
    )


def log_uncaught() -> None:
    """Log uncaught exceptions and warnings without their messages, which Python would write to
    stderr: they may quote a request."""

    def main(_: type[BaseException], error: BaseException, _trace_of: object) -> None:
        print(redact("\n".join(map(_visible, trace(error)))), file=sys.stderr)

    def failed(error: BaseException | None, where: str) -> None:
        _log.critical("unhandled exception in %s", where, exc_info=error)

    def warned(_: Warning | str, kind: type[Warning], file: str, line: int, *_more: object) -> None:
        _log.warning("%s of Python at line %d of %s", kind.__name__, line, file)

    logging.lastResort = None  # it would write full exceptions after the log is closed
    sys.excepthook = main
    threading.excepthook = lambda args: failed(args.exc_value, "a thread")
    sys.unraisablehook = lambda args: failed(args.exc_value, "a destructor or callback")
    warnings.showwarning = warned


def configure(
    level: str = "info", json_lines: bool = False, stream: TextIO | None = None
) -> LogWriter:
    """Send the log of this process to `stream` (default stderr), replacing a previous setup.

    Libraries always log from `warning` on. Raises `ValueError` for an unknown level.
    """
    # Line, thread and process are never logged, and finding them takes half the time of a record
    # ("Optimization" in Python's logging HOWTO).
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # type: ignore[attr-defined]
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"unknown log level `{level}`")
    target = stream or sys.stderr
    formatter = JsonFormatter() if json_lines else TextFormatter(colour=target.isatty())
    root = logging.getLogger()
    for handler in list(root.handlers):
        if isinstance(handler, LogWriter):
            handler.close()
    writer = LogWriter(target, formatter)
    root.addHandler(writer)
    root.setLevel(max(number, logging.WARNING))
    logging.getLogger("plugway").setLevel(number)
    atexit.register(writer.close)
    return writer
