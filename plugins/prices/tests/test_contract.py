import pytest

from plugway.testing import FeatureContract
from plugway_prices import Prices, TellsPrices

pytestmark = pytest.mark.anyio


class TestContract(FeatureContract):
    plugin = Prices

    def test_it_loads_with_valid_options(self) -> None:
        """It has no hooks: other plugins find it."""
        assert isinstance(self.make(), TellsPrices)
