import pytest

from plugway.testing import FeatureContract
from plugway_resilience import Resilience

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


class TestContract(FeatureContract):
    plugin = Resilience
