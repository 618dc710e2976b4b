"""Models on this machine, on disk and in memory: a library, not a plugin.

`plugway_local_models.memory` measures the memory.
"""

from plugway_local_models._control import control_socket
from plugway_local_models._folder import (
    ModelFile,
    NoSuchModel,
    UnusableModel,
    advice,
    cache_folder,
    is_inside,
    log_folder,
    models_folder,
    named_model,
    unknown_model,
)
from plugway_local_models._kinds import (
    ModelFacts,
    ModelKind,
    PullFailed,
    RemoteFile,
    find_model,
    model_kinds,
)
from plugway_local_models._protocols import (
    AsksForRoom,
    Decision,
    FreesCaches,
    HoldsModels,
    LoadedModel,
    MakesRoom,
    Memory,
    MemoryReport,
    NamesModels,
    Progress,
    ReadsMemory,
    TellsProgress,
)
from plugway_local_models._room import Reservations

__all__ = [
    "AsksForRoom",
    "Decision",
    "FreesCaches",
    "HoldsModels",
    "LoadedModel",
    "MakesRoom",
    "Memory",
    "MemoryReport",
    "ModelFacts",
    "ModelFile",
    "ModelKind",
    "NamesModels",
    "NoSuchModel",
    "Progress",
    "PullFailed",
    "ReadsMemory",
    "RemoteFile",
    "Reservations",
    "TellsProgress",
    "UnusableModel",
    "advice",
    "cache_folder",
    "control_socket",
    "find_model",
    "is_inside",
    "log_folder",
    "model_kinds",
    "models_folder",
    "named_model",
    "unknown_model",
]
