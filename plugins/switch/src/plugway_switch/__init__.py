"""Lets the user choose the model that serves a conversation, by a typed line or a sentence.

`_wish` decides what counts as a wish, in pure functions.
"""

from plugway_switch._options import SwitchOptions
from plugway_switch._plugin import Switch
from plugway_switch._wish import Wish, wish_of

__all__ = ["Switch", "SwitchOptions", "Wish", "wish_of"]
