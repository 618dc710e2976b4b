"""For the worker of an engine: the loop, requests, reuse of prompts, the preparation of requests.

Needs the engine's process only; the gateway's own process does not import it.
"""

from plugway_local_engine._contract import (
    SHARED_POSITION,
    Blob,
    Logits,
    Sampling,
    Sequences,
    Tokens,
    Traits,
    Vocabulary,
)
from plugway_local_engine._disk import DiskCache
from plugway_local_engine._job import Job
from plugway_local_engine._loop import EngineLoop
from plugway_local_engine._pace import Pace
from plugway_local_engine._pieces import Picture, Pictures, UnreadableImage
from plugway_local_engine._prefix import PrefixCache
from plugway_local_engine._prepare import Preparer, Window, load_template
from plugway_local_engine._slots import Slot, SlotTable
from plugway_local_engine._states import StateStore

__all__ = [
    "SHARED_POSITION",
    "Blob",
    "DiskCache",
    "EngineLoop",
    "Job",
    "Logits",
    "Pace",
    "Picture",
    "Pictures",
    "PrefixCache",
    "Preparer",
    "Sampling",
    "Sequences",
    "Slot",
    "SlotTable",
    "StateStore",
    "Tokens",
    "Traits",
    "UnreadableImage",
    "Vocabulary",
    "Window",
    "load_template",
]
