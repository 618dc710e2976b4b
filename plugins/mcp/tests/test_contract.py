import pytest

from plugway.testing import FeatureContract
from plugway_mcp import Mcp

pytestmark = pytest.mark.anyio


class TestContract(FeatureContract):
    plugin = Mcp
