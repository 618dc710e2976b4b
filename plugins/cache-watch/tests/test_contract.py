"""What every plugin must do."""

import pytest

from plugway.testing import FeatureContract
from plugway_cache_watch import CacheWatch

pytestmark = pytest.mark.anyio


class TestContract(FeatureContract):
    plugin = CacheWatch
