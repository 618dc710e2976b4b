import pytest

from plugway.testing import FeatureContract
from plugway_server_tools import ServerTools

pytestmark = pytest.mark.anyio


class TestContract(FeatureContract):
    plugin = ServerTools
    harmless = {"tools": [{"name": "web_search", "input_schema": {"type": "object"}}]}
