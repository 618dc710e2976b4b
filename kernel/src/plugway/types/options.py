"""The base class of options: of plugins, of `server`, and of network options."""

from __future__ import annotations

import os

from pydantic import BaseModel, ConfigDict
from pydantic import SecretStr as Secret

__all__ = ["NoOptions", "Options", "Secret"]

# pydantic would import what any installed package registers as its plugin
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


class Options(BaseModel):
    """Base of a plugin's options: frozen, without unknown keys, described by docstrings."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
        validate_default=True,
    )


class NoOptions(Options):
    """Options of plugins that have none."""
