"""What models and their servers take: a library, not a plugin.

`Ledger` knows it from data (`facts.yaml`), corrected by what upstreams refuse (`rejections.toml`)
and kept in a file that a user can read and edit. Using it on a request is the backends' business.
"""

from plugway_capabilities._facts import Facts, known_facts
from plugway_capabilities._ledger import Ledger, default_path
from plugway_capabilities._rejections import REJECTIONS, WHO_ASKS, Rejection, lessons

__all__ = [
    "REJECTIONS",
    "WHO_ASKS",
    "Facts",
    "Ledger",
    "Rejection",
    "default_path",
    "known_facts",
    "lessons",
]
