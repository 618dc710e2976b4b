"""The model that ships with Plugway: what it is told and may call, whatever engine runs it."""

from typing import Final

from plugway_local_engine._demo_client_names import ClientNames
from plugway_local_engine._demo_held import Held

DEMO: Final = "demo"
DEMO_NOTICE: Final = (
    "The model behind this is a tiny demonstration model: it can greet, say what Plugway is, and "
    "create, append to or show a file. It shows that everything works, and cannot do more."
)

__all__ = ["DEMO", "DEMO_NOTICE", "ClientNames", "Held"]
