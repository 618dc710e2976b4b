"""JSON strings with every escape that JSON knows, and numbers, as terminals of a grammar.

`%json` of `llguidance` allows no `\\/`, and `\\u` only for characters that need it.
"""

from __future__ import annotations

from typing import Final

_HEX: Final = "[0-9a-fA-F]"
_CHARACTER: Final = rf"([0-9a-ce-fA-CE-F]{_HEX}{{3}}|[dD][0-7]{_HEX}{{2}})"
_PAIR: Final = rf"[dD][89abAB]{_HEX}{{2}}\\u[dD][c-fC-F]{_HEX}{{2}}"
"""A character beyond U+FFFF; half of one is not text."""

JSON_STRING: Final = rf'/"([^"\\\x00-\x1f]|\\["\\\/bfnrt]|\\u({_CHARACTER}|{_PAIR}))*"/'
INTEGER: Final = "/-?(0|[1-9][0-9]{0,39})/"
_EXPONENT: Final = r"[eE](\+?(1?[0-9]{1,2}|2[0-5][0-9])|-[0-9]{1,3})"
NUMBER: Final = rf"/-?(0|[1-9][0-9]{{0,39}})(\.[0-9]{{1,39}})?({_EXPONENT})?/"
"""Always finite."""
