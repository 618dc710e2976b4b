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
    Decision,
    FreesCaches,
    HoldsModels,
    LoadedModel,
    MakesRoom,
    MemoryReport,
    NamesModels,
)

__all__ = [
    "Decision",
    "FreesCaches",
    "HoldsModels",
    "LoadedModel",
    "MakesRoom",
    "MemoryReport",
    "ModelFacts",
    "ModelFile",
    "ModelKind",
    "NamesModels",
    "NoSuchModel",
    "PullFailed",
    "RemoteFile",
    "UnusableModel",
    "advice",
    "cache_folder",
    "control_socket",
    "find_model",
    "is_inside",
    "log_folder",
    "model_kinds",
    "models_folder",
    "unknown_model",
]
