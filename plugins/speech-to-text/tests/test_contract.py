"""The plugin keeps the rules of all plugins."""

from plugway.testing import FeatureContract
from plugway_speech_to_text import SpeechToText


class TestContract(FeatureContract):
    plugin = SpeechToText
