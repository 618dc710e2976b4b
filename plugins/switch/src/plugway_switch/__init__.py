"""Lets a conversation choose the model that serves it: by a typed line, or a sentence.

What counts as a wish is decided in `_wish`, as pure functions.
"""

from plugway_switch._options import SwitchOptions
from plugway_switch._plugin import Switch
from plugway_switch._wish import Wish, turn_of, wish_of

__all__ = ["Switch", "SwitchOptions", "Wish", "turn_of", "wish_of"]
