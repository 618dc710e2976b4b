"""People, groups and keys: who may use the gateway, and which models.

Other plugins know a person by `Member`, the caller of an exchange, and find the rest by
`the_accounts(gateway)`.
"""

from plugway_accounts._errors import AccountError
from plugway_accounts._keys import NewKey
from plugway_accounts._member import Member
from plugway_accounts._names import is_name
from plugway_accounts._people import People
from plugway_accounts._plugin import Accounts, KnowsPeople, the_accounts
from plugway_accounts._records import Group, Key, Person
from plugway_accounts._tables import SCHEMA

__all__ = [
    "SCHEMA",
    "AccountError",
    "Accounts",
    "Group",
    "Key",
    "KnowsPeople",
    "Member",
    "NewKey",
    "People",
    "Person",
    "is_name",
    "the_accounts",
]
