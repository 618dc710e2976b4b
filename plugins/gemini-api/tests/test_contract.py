"""What holds for every plugin that takes part in exchanges holds for this one."""

import pytest

from plugway.testing import FeatureContract
from plugway_gemini_api import GeminiApi

pytestmark = pytest.mark.anyio


class TestContract(FeatureContract):
    plugin = GeminiApi
    options = {"max_tokens": 1000}
