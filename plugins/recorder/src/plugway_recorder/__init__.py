"""Keeps turns of conversations with the consent of their person, and replays them on other models.

`_plugin` records, `_store` and `_vault` keep, `_routes` gives back; `_replay` sends again, and
`_compare` judges what came.
"""

from plugway_recorder._options import RecorderOptions
from plugway_recorder._plugin import Recorder

__all__ = ["Recorder", "RecorderOptions"]
