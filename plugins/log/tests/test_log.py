"""The log: complete lines without secrets, written without ever holding anybody up."""

from __future__ import annotations

import errno
import io
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from plugway import BackendError
from plugway_log import LogWriter, _log, configure, redact, register_secret

log = logging.getLogger("plugway.test")


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("plugway")
    levels = root.level, ours.level
    yield
    for handler in list(root.handlers):
        if isinstance(handler, LogWriter):
            handler.close()
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


def lines_of(stream: io.StringIO, writer: LogWriter) -> list[str]:
    writer.close()
    return stream.getvalue().splitlines()


def until(condition: Callable[[], bool]) -> None:
    deadline, pause = time.monotonic() + 5, threading.Event()
    while not condition() and time.monotonic() < deadline:
        pause.wait(0.001)


def test_json_lines_carry_time_level_logger_message_and_extra_fields() -> None:
    stream = io.StringIO()
    writer = configure("info", True, stream)
    log.info("took %d ms", 5, extra={"request_id": "req_1", "tries": 2})
    (line,) = lines_of(stream, writer)
    record = json.loads(line)
    assert record.pop("time").endswith("Z")
    assert record == {
        "level": "info",
        "logger": "plugway.test",
        "message": "took 5 ms",
        "request_id": "req_1",
        "tries": 2,
    }


def test_the_level_counts_for_plugway_and_libraries_speak_from_warning_on() -> None:
    stream = io.StringIO()
    writer = configure("debug", True, stream)
    log.debug("ours")
    logging.getLogger("some.library").info("theirs")
    logging.getLogger("some.library").warning("important")
    messages = [json.loads(line)["message"] for line in lines_of(stream, writer)]
    assert messages == ["ours", "(text omitted)"]


@pytest.mark.parametrize("json_lines", [True, False])
def test_a_library_says_what_it_says_without_the_values(json_lines: bool) -> None:
    stream = io.StringIO()
    writer = configure("info", json_lines, stream)
    library, word = logging.getLogger("some.library"), "".join(("cana", "ry"))
    library.warning("no room for %s", word, extra={"prompt": word})
    library.warning(f"no room for {word}")  # noqa: G004 - as some write it
    logging.getLogger("asyncio").error(f"Task was never retrieved\nfuture: {word}")  # noqa: G004
    text = "\n".join(lines_of(stream, writer))
    assert word not in text
    assert "no room for %s" in text
    assert "Task was never retrieved" in text


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown log level `loud`"):
        configure("loud", False, io.StringIO())


def test_configuring_again_replaces_the_first_stream() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure("info", False, first)
    writer = configure("info", False, second)
    log.info("once")
    assert len(lines_of(second, writer)) == 1
    assert first.getvalue() == ""


def test_text_for_people_cannot_be_forged_by_what_is_logged() -> None:
    stream = io.StringIO()
    writer = configure("info", False, stream)
    log.info("a\r\n12:00:00 ERROR plugway: forged\x1b[2J", extra={"model": "x\ny"})
    lines = lines_of(stream, writer)
    assert lines[0].endswith("INFO plugway.test: a\\u000d")
    assert lines[1] == '    12:00:00 ERROR plugway: forged\\u001b[2J model="x\\ny"'
    assert len(lines) == 2


def test_no_value_passes_for_another_field() -> None:
    stream = io.StringIO()
    writer = configure("info", False, stream)
    extra = {"caller": "phone", "model": "m caller=owner", "session_id": 'a" b', "client": "x=1"}
    log.info("messages phone completed", extra=extra)
    (line,) = lines_of(stream, writer)
    said = r'caller=phone model="m caller=owner" session_id="a\" b" client="x=1"'
    assert line.endswith(f": messages phone completed {said}")


def test_text_for_people_leaves_out_what_is_empty_or_said_already() -> None:
    stream = io.StringIO()
    writer = configure("info", False, stream)
    extra = {"session_id": None, "served_by": "a/b", "outcome": "completed", "error": "", "ms": 0}
    log.info("messages a/b completed", extra={**extra, "model": "b"})
    log.info("stream cut: it broke off", extra={"error": "it broke off"})
    first, second = lines_of(stream, writer)
    assert first.endswith(": messages a/b completed ms=0 model=b")
    assert second.endswith(": stream cut: it broke off")


@pytest.mark.parametrize("json_lines", [True, False])
def test_a_traceback_is_kept_and_redacted(json_lines: bool) -> None:
    stream = io.StringIO()
    writer = configure("info", json_lines, stream)
    try:
        raise BackendError("refused Bearer abcdefghijk")
    except BackendError:
        log.exception("failed")
    text = "\n".join(lines_of(stream, writer))
    assert "BackendError: refused Bearer ***" in text
    assert "abcdefghijk" not in text


@pytest.mark.parametrize("json_lines", [True, False])
def test_a_traceback_has_no_text_that_may_quote_a_request(json_lines: bool) -> None:
    stream = io.StringIO()
    writer = configure("info", json_lines, stream)
    word = "".join(("cana", "ry"))
    try:
        try:
            int(word)
        except ValueError:
            held = [KeyError(word), TypeError(word), FileNotFoundError(2, word, word)]
            raise ExceptionGroup(word, held) from RuntimeError(word)
    except ExceptionGroup:
        log.exception("failed")
    text = "\n".join(lines_of(stream, writer))
    assert word not in text
    assert all(name in text for name in ("ExceptionGroup", "KeyError", "RuntimeError", "Traceback"))


def test_control_and_direction_characters_are_escaped_in_json() -> None:
    stream = io.StringIO()
    writer = configure("info", True, stream)
    log.info("a\x00\x7f\x9b\u2028\u202e\nb")
    (line,) = lines_of(stream, writer)
    assert line.isascii()
    assert json.loads(line)["message"] == "a\x00\x7f\x9b\u2028\u202e\nb"


@pytest.mark.parametrize(
    "text",
    [
        "authorization: Bearer HIDDEN-value_1",
        "{'authorization': 'Bearer HIDDEN-value_1'}",
        "Authorization: Basic HIDDEN==",
        "x-api-key: HIDDEN",
        "{'X-Api-Key': 'HIDDEN', 'a': 'b'}",
        "[(b'x-api-key', b'HIDDEN')]",
        '{"api_key": "HIDDEN"}',
        '{\\"x-api-key\\": \\"HIDDEN\\"}',
        "GET /v1?alt=sse&key=HIDDEN&x=1",
        "POST http://h/p?token=HIDDEN",
        "set-cookie: a=HIDDEN; path=/; b=HIDDEN",
        "key sk-ant-HIDDEN-0123456789",
    ],
)
def test_what_looks_like_a_credential_is_hidden(text: str) -> None:
    cleaned = redact(text)
    assert "HIDDEN" not in cleaned
    assert "***" in cleaned


@pytest.mark.parametrize(
    "text", ["a risk-averse task-management-system", "POST /v1/messages 200", "tokens=120 key=x"]
)
def test_ordinary_text_is_left_as_it_is(text: str) -> None:
    assert redact(text) == text


def test_registered_secrets_are_hidden_in_every_form_and_lines_stay_json() -> None:
    secret = 'quote"back\\slash-7'
    register_secret(secret)
    register_secret("abc")
    stream = io.StringIO()
    writer = configure("info", True, stream)
    log.info("abc %s", secret, extra={"headers": {"x": secret}})
    (line,) = lines_of(stream, writer)
    assert json.loads(line)["message"] == "abc ***"
    assert json.loads(line)["headers"] == {"x": "***"}


def test_a_secret_with_bytes_that_are_not_text_can_be_registered() -> None:
    register_secret("half-\udcff-text")
    assert redact("a half-\udcff-text b") == "a *** b"


def test_a_wrong_format_string_or_field_does_not_raise() -> None:
    stream = io.StringIO()
    writer = configure("info", True, stream)
    writer.handle(logging.LogRecord("x", logging.INFO, "", 0, "%d", ("text",), None))
    log.info("odd", extra={"field": object()})
    log.info("lone surrogate \udcff")
    assert len(lines_of(stream, writer)) == 3


class Stuck(io.StringIO):
    """A stream that waits, like a full pipe."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()

    def write(self, text: str) -> int:
        self.gate.wait(10)
        return super().write(text)


def test_a_stuck_stream_loses_the_oldest_and_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_log, "QUEUE_RECORDS", 100)
    stream = Stuck()
    writer = configure("info", True, stream)
    log.info("first")
    until(lambda: not writer._records)
    start = time.monotonic()
    for number in range(250):
        log.info("n%d", number)
    assert time.monotonic() - start < 5
    assert writer.dropped == 150
    stream.gate.set()
    messages = [json.loads(line)["message"] for line in lines_of(stream, writer)]
    assert messages == [
        "first",
        "150 log records were dropped",
        *[f"n{n}" for n in range(150, 250)],
    ]


class FullDisk(io.StringIO):
    full = True

    def write(self, text: str) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, "no space")
        return super().write(text)


def test_a_full_disk_drops_with_a_count_that_is_told_later() -> None:
    stream = FullDisk()
    writer = configure("info", True, stream)
    for _ in range(3):
        log.info("lost")
    until(lambda: writer.dropped >= 3)
    stream.full = False
    log.info("found")
    messages = [json.loads(line)["message"] for line in lines_of(stream, writer)]
    assert messages == ["3 log records were dropped", "found"]


def test_a_closed_stream_is_survived() -> None:
    stream = io.StringIO()
    writer = configure("info", True, stream)
    stream.close()
    log.info("gone")
    writer.close()
    assert writer.dropped >= 1


def test_what_is_queued_is_written_when_the_process_ends() -> None:
    code = (
        "import logging; from plugway_log import configure; configure('info', True);"
        "[logging.getLogger('plugway.x').info('n%d', n) for n in range(500)]"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = done.stderr.splitlines()
    assert [json.loads(line)["message"] for line in lines] == [f"n{n}" for n in range(500)]


def test_logging_costs_the_caller_microseconds() -> None:
    writer = configure("info", True, io.StringIO())
    start = time.thread_time()
    for number in range(5000):
        log.info("request %d", number, extra={"request_id": "req_1"})
    each = (time.thread_time() - start) / 5000
    writer.close()
    assert each < 0.0005
