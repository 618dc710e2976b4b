"""Adds a sentence of the user's to the system prompt."""

from plugway_template._plugin import Template, TemplateOptions

__all__ = ["Template", "TemplateOptions"]
