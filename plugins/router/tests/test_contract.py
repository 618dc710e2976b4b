import pytest

from plugway.testing import FeatureContract
from plugway_router import Router

pytestmark = pytest.mark.anyio


class TestContract(FeatureContract):
    plugin = Router
    options = {"models": {"*": ["plain"]}}  # noqa: RUF012
