import pytest

from plugway.testing import FeatureContract
from plugway_context_guard import ContextGuard

pytestmark = pytest.mark.anyio


class TestContract(FeatureContract):
    plugin = ContextGuard
    options = {"windows": {"*": 100_000}}
