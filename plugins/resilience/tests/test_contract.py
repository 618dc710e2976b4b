import pytest

from plugway.testing import FeatureContract
from plugway_resilience import Resilience

pytestmark = pytest.mark.anyio


class TestContract(FeatureContract):
    plugin = Resilience
