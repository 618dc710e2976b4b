import pytest

from plugway.testing import FeatureContract
from plugway_router import Router

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


class TestContract(FeatureContract):
    plugin = Router
    options = {"models": {"*": ["plain"]}}  # noqa: RUF012
