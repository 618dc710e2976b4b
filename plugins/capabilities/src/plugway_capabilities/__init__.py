"""Records what models and their servers support: a library, not a plugin.

`Ledger` combines packaged data (`facts.yaml`) with what upstreams have rejected (matched by
`rejections.toml`), stored in a file that users can read and edit. Backends apply the facts.
"""

from plugway_capabilities._facts import NOTHING_KNOWN, Facts, known_facts
from plugway_capabilities._ledger import Ledger, default_path
from plugway_capabilities._rejections import REJECTIONS, USER_FIELDS, Rejection, lessons

__all__ = [
    "NOTHING_KNOWN",
    "REJECTIONS",
    "USER_FIELDS",
    "Facts",
    "Ledger",
    "Rejection",
    "default_path",
    "known_facts",
    "lessons",
]
