"""Adapts the fields and headers of a request to the kind of server that receives it.

Backends send the request; the `thinking` plugin handles thinking blocks.
"""

from plugway_field_policy._options import FieldPolicyOptions, Target
from plugway_field_policy._plugin import FieldPolicy

__all__ = ["FieldPolicy", "FieldPolicyOptions", "Target"]
