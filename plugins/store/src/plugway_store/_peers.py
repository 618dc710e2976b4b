"""The other gateways with the same database, and whether they are configured alike."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from plugway import Gateway

EVERY_SECONDS: Final = 20.0
"""How often a gateway announces itself."""
LIVE_SECONDS: Final = 60.0
"""How long after its last announcement a gateway counts."""


@dataclass(frozen=True, slots=True)
class _Peer:
    name: str
    until: float
    """`time.monotonic()` until which it counts."""


class Peers:
    """What other gateways have announced."""

    def __init__(self, log: logging.Logger) -> None:
        self.about: Mapping[str, Any] = {}
        """What this gateway announces."""
        self._log = log
        self._peers: dict[str, _Peer] = {}
        self._reported: dict[str, str] = {}
        """The difference that was last reported of each gateway, by its name."""

    def others(self) -> bool:
        """Whether another gateway uses the same database."""
        now = time.monotonic()
        self._peers = {id_: peer for id_, peer in self._peers.items() if peer.until > now}
        return any(peer.name != self.about.get("name") for peer in self._peers.values())

    def changed(self, key: str, value: Any, seconds: float) -> None:
        """Another gateway has announced itself."""
        name, backends = str(value["name"]), dict(value["backends"])
        self._peers[key] = _Peer(name, time.monotonic() + seconds)
        if name == self.about.get("name"):
            return  # this one, before it was restarted
        difference = _difference(self.about.get("backends", {}), backends)
        if difference and self._reported.get(name) != difference:
            self._log.warning(
                "the gateway %s shares this database, but has another configuration: %s. Choices "
                "and waits apply by the names of backends, so give all gateways the same",
                name,
                difference,
            )
        self._reported[name] = difference


def about(gateway: Gateway) -> dict[str, Any]:
    """What a gateway announces: its name, and its backends with their zones."""
    backends = {name: backend.zone for name, backend in sorted(gateway.backends.items())}
    return {"name": gateway_name(gateway), "backends": backends}


def gateway_name(gateway: Gateway) -> str:
    """The name of a gateway in logs and in the database: its machine and its address."""
    return f"{socket.gethostname()} {gateway.address}"


def _difference(ours: Mapping[str, str], theirs: Mapping[str, str]) -> str:
    missing, added = sorted(ours.keys() - theirs), sorted(theirs.keys() - ours)
    zones = sorted(name for name in ours.keys() & theirs if ours[name] != theirs[name])
    parts = [
        f"{words} {', '.join(f'`{name}`' for name in names)}"
        for words, names in (("it lacks", missing), ("only it has", added), ("other zones:", zones))
        if names
    ]
    return "; ".join(parts)
