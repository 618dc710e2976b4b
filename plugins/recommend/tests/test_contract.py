import pytest

from plugway.testing import FeatureContract
from plugway_recommend import Recommend

pytestmark = pytest.mark.anyio


class TestContract(FeatureContract):
    plugin = Recommend
