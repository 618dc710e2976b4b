"""The ledger: known facts about models, updated by errors of their servers.

`_rejections` reads the errors; `_store` handles the file.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any, Final

import platformdirs

from plugway_capabilities import _store
from plugway_capabilities._facts import MAPS, NOTHING_KNOWN, SETS, Facts, known_facts
from plugway_capabilities._rejections import lessons

_log = logging.getLogger("plugway.capabilities")
_MAX_REMEMBERED: Final = 2000


def default_path() -> Path:
    """The file of learned facts in the user's data folder."""
    return platformdirs.user_data_path("plugway", appauthor=False) / "capabilities.yaml"


class Ledger:
    """What models support: the packaged table, updated by learned facts.

    `provider` names a known service (`openai`, `deepseek`) in the table. Learned facts belong to
    the URL of a `server`, if given: another server with the same provider starts without them.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Read the file at `path`, or the default one in the user's data folder."""
        self.path = path or default_path()
        self._learnt = _store.read(self.path)
        self._about: dict[tuple[str, str, str], Facts] = {}
        self._writers: list[threading.Thread] = []

    def about(self, provider: str, model: str, server: str = "") -> Facts:
        """The current facts, `NOTHING_KNOWN` itself if there are none; a dictionary lookup, without
        reading a file."""
        key = provider, model, server
        facts = self._about.get(key)
        if facts is None:
            learnt = self._learnt.get((server or provider, model), {})
            facts = known_facts(provider, model).updated(learnt)
            facts = NOTHING_KNOWN if facts == NOTHING_KNOWN else facts
            if len(self._about) >= _MAX_REMEMBERED:
                self._about.clear()
            self._about[key] = facts
        return facts

    def learn(
        self, provider: str, model: str, status: int, message: str | bytes, server: str = ""
    ) -> tuple[str, ...]:
        """Learn from an error; return descriptions for the receipt, empty if nothing is new.

        `message` is the response body, or its text. The facts apply at once. A thread writes the
        file, rereading it first, because other gateways may write it, too; `flush` waits for it.
        """
        before = self.about(provider, model, server)
        news = {
            name: value
            for name, value in lessons(status, message).items()
            if _is_new(name, value, before)
        }
        if not news:
            return ()
        key = server or provider, model
        entry = {**news, "learned": _store.today()}
        self._learnt[key] = _store.merged(self._learnt.get(key, {}), entry)
        self._about[provider, model, server] = before.updated(news)
        self._writers = [writer for writer in self._writers if writer.is_alive()]
        writer = threading.Thread(target=self._write, args=({key: entry},), name="capabilities")
        self._writers.append(writer)
        writer.start()
        return tuple(_described(name, value) for name, value in news.items())

    def flush(self, seconds: float = 5.0) -> None:
        """Wait until the learned facts are written."""
        for writer in self._writers:
            writer.join(seconds)

    def _write(self, news: _store.Learnt) -> None:
        try:
            _store.merge(self.path, news)
        except OSError as error:
            _log.warning(
                "what was learned about `%s` will be lost at the next start: cannot write %s: %s. "
                "Make the folder writable",
                ", ".join("/".join(key) for key in news),
                self.path,
                error.strerror,
            )


def _is_new(name: str, value: Any, before: Facts) -> bool:
    old = getattr(before, name)
    if name in SETS:
        return not value <= old
    if name in MAPS:
        return any(old.get(key) != values for key, values in value.items())
    return value != old


def _described(name: str, value: Any) -> str:
    words = name.replace("_", " ")
    if name in SETS:
        return f"{words}: {', '.join(sorted(value))}"
    if name == "allowed_values":
        return "; ".join(f"`{key}` may be {', '.join(values)}" for key, values in value.items())
    if name == "length_limits":
        return "; ".join(f"`{key}` has at most {most} characters" for key, most in value.items())
    return f"{words}: {value}"
