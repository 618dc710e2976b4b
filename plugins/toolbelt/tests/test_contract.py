import pytest

from plugway.testing import FeatureContract
from plugway_toolbelt import Toolbelt

pytestmark = pytest.mark.anyio


class TestContract(FeatureContract):
    plugin = Toolbelt
    options = {"grants": [{"tools": ["files_*"]}], "models": ["special"]}
