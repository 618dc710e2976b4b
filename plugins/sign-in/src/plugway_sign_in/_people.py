"""People, as `accounts` keeps them. INTERIM until accounts is there."""
from __future__ import annotations
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable
from plugway import Gateway
from plugway_sign_in._options import SignInOptions
from plugway_store import Store


class NotLetIn(Exception):
    status = 403
    record = ""


@runtime_checkable
class Interim(Protocol):
    people: Any


class People:
    def __init__(self, accounts, provider):
        self.accounts = accounts
        self.provider = provider
    async def account(self, name: str) -> Any: return self.accounts.get(name)
    async def member(self, name: str) -> Any: return self.accounts[name].caller if name in self.accounts else None
    async def check_password(self, name, password): 
        a = self.accounts.get(name)
        return name if a and a.password == password else None
    async def person_of(self, identity): return "ann"


def open_people(options: SignInOptions, gateway: Gateway) -> Callable[[Store], People]:
    from plugway_sign_in._oidc import Provider
    return lambda store: People(gateway.find(Interim)[0][1].people, Provider(options.oidc) if options.oidc else None)
