"""What the routes work with while the gateway runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from plugway_sign_in._people import People
from plugway_sign_in._requests import Requests
from plugway_sign_in._sessions import Sessions
from plugway_store import Store

if TYPE_CHECKING:
    from plugway_sign_in._oidc import Provider


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts that need the database."""

    store: Store
    sessions: Sessions
    requests: Requests
    people: People
    oidc: Provider | None

    @property
    def provider(self) -> Provider:
        """The provider, of whom only routes ask that are there if one is configured."""
        assert self.oidc is not None, "no provider is configured"
        return self.oidc
