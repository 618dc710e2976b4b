import pytest

from plugway.testing import FeatureContract
from plugway_error_normalizer import ErrorNormalizer

pytestmark = pytest.mark.anyio


class TestContract(FeatureContract):
    plugin = ErrorNormalizer
