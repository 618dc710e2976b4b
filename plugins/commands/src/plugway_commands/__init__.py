"""The commands `plugway status`, `plugway explain` and `plugway new`."""

from plugway_commands._commands import explain_app, status_app
from plugway_commands._new import new_app

__all__ = ["explain_app", "new_app", "status_app"]
