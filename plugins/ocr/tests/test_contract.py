"""The plugin keeps the rules of all plugins."""

from plugway.testing import FeatureContract
from plugway_ocr import Ocr


class TestContract(FeatureContract):
    plugin = Ocr
