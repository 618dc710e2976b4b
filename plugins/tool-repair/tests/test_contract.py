import pytest

from plugway.testing import FeatureContract
from plugway_tool_repair import ToolRepair

pytestmark = pytest.mark.anyio


class TestContract(FeatureContract):
    plugin = ToolRepair
    options = {}
    harmless = {"tools": [{"name": "Read", "input_schema": {"type": "object"}}]}
