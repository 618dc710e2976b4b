"""A plugin that adds a sentence to the system prompt."""

from plugway_template._plugin import Template, TemplateOptions

__all__ = ["Template", "TemplateOptions"]
