"""People, as `accounts` keeps them."""
from __future__ import annotations
from collections.abc import Callable
from typing import Any
from plugway import Gateway
from plugway_store import Store


class NotLetIn(Exception):
    status = 403
    record = ""


class People:
    provider: Any
    async def account(self, name: str) -> Any: ...
    async def member(self, name: str) -> Any: ...


def open_people(options: Any, gateway: Gateway) -> Callable[[Store], People]:
    return gateway.find(FakeAccounts)[0][1].people
class FakeAccounts: ...
