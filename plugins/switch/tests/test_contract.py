import pytest

from plugway.testing import FeatureContract
from plugway_switch import Switch

pytestmark = pytest.mark.anyio


class TestContract(FeatureContract):
    plugin = Switch
