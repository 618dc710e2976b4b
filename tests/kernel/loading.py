"""Loads the plugins of a configuration, with every problem as one error."""

from plugway.config.document import in_order
from plugway.plugins.loader import find_plugins
from plugway.types.errors import ConfigError


def load_plugins(config, registry=None):
    found = find_plugins(config, registry)
    if found.problems:
        raise ConfigError(in_order(found.problems))
    return found.plugins
