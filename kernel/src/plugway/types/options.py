"""The base of options: of plugins, of the server, and of how a server is reached."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic import SecretStr as Secret

__all__ = ["NoOptions", "Options", "Secret"]


class Options(BaseModel):
    """Base of a plugin's options: frozen, unknown keys refused, docstrings become descriptions."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
        validate_default=True,
    )


class NoOptions(Options):
    """For plugins that take no options."""
