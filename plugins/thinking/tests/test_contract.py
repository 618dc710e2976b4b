import pytest

from plugway.testing import FeatureContract
from plugway_thinking import Thinking

pytestmark = pytest.mark.anyio


class TestContract(FeatureContract):
    plugin = Thinking
    harmless = {"thinking": {"type": "adaptive"}}
