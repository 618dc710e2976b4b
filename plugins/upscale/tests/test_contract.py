"""The plugin keeps the rules of all plugins."""

from plugway.testing import FeatureContract
from plugway_upscale import Upscale


class TestContract(FeatureContract):
    plugin = Upscale
