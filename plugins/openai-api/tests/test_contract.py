"""What holds for every plugin that takes part in exchanges holds for this one."""

import pytest

from plugway.testing import FeatureContract
from plugway_openai_api import OpenAIApi

pytestmark = pytest.mark.anyio


class TestContract(FeatureContract):
    plugin = OpenAIApi
    options = {"max_tokens": 1000}
