import pytest

from plugway.testing import FeatureContract
from plugway_field_policy import FieldPolicy

pytestmark = pytest.mark.anyio


class TestContract(FeatureContract):
    plugin = FieldPolicy
    harmless = {"temperature": 0.5, "system": "be brief", "thinking": {"type": "adaptive"}}
