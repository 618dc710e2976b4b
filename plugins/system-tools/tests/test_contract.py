"""The plugin keeps the rules of all plugins."""

from plugway.testing import FeatureContract
from plugway_system_tools import SystemTools


class TestContract(FeatureContract):
    plugin = SystemTools
