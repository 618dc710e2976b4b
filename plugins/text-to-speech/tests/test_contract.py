"""The plugin keeps the rules of all plugins."""

from plugway.testing import FeatureContract
from plugway_text_to_speech import TextToSpeech


class TestContract(FeatureContract):
    plugin = TextToSpeech
