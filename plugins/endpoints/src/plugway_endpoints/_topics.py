"""Values that several gateways share, as plugins find them: a protocol, and no database.

A plugin keeps its state in memory as if it were alone. It puts what other gateways should know
into a topic, and is called with what they have put there.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, Final, Protocol, runtime_checkable

from plugway import Gateway

KEPT_SECONDS: Final = 30 * 86_400.0
"""How long what belongs to a conversation is kept."""

Changed = Callable[[str, Any, float], None]
"""Called with the key, the value (None if it was removed) and the seconds until it expires. It may
raise `ValueError`, `TypeError`, `KeyError` or `AttributeError` for a value that it cannot read."""


class Topic(Protocol):
    """One kind of value that gateways share."""

    def put(self, key: str, value: object, seconds: float) -> None:
        """Share a value, which JSON can write, for some time; None removes the previous one.

        It is written soon and without waiting. While the database does not respond it is kept, and
        the last value of each key is written afterwards, unless it has expired.
        """
        ...

    async def written(self) -> bool:
        """Wait until other gateways know what was put; False if that takes more than a second."""
        ...


@runtime_checkable
class SharesTopics(Protocol):
    """A plugin by which gateways share values: `topic_of` finds it."""

    def share_topic(self, name: str, changed: Changed) -> AbstractAsyncContextManager[Topic]:
        """Share values in the lifespan of the plugin that has them. `changed` is first called with
        all values that are there, then with each that another gateway puts."""
        ...


def topic_of(
    gateway: Gateway, name: str, changed: Changed
) -> AbstractAsyncContextManager[Topic | None]:
    """A topic to enter in the lifespan of a plugin; None if no plugin shares values."""
    for _, one in gateway.find(SharesTopics):
        return one.share_topic(name, changed)
    return nullcontext()
