import pytest

from plugway.testing import FeatureContract
from plugway_thinking import Thinking

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


class TestContract(FeatureContract):
    plugin = Thinking
    harmless = {"thinking": {"type": "adaptive"}}
