"""What the routes work with while the gateway runs."""

from __future__ import annotations

from dataclasses import dataclass

from plugway_sign_in._people import People
from plugway_sign_in._requests import Requests
from plugway_sign_in._sessions import Sessions
from plugway_store import Store


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts that need the database."""

    store: Store
    sessions: Sessions
    requests: Requests
    people: People
