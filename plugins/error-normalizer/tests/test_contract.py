import pytest

from plugway.testing import FeatureContract
from plugway_error_normalizer import ErrorNormalizer

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


class TestContract(FeatureContract):
    plugin = ErrorNormalizer
