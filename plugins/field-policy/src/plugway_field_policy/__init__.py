"""What happens to each field and header of a request, by the kind of server that it goes to.

Sending it is the backend's business; thinking blocks in a conversation are the `thinking` plugin's.
"""

from plugway_field_policy._options import FieldPolicyOptions, Target
from plugway_field_policy._plugin import FieldPolicy

__all__ = ["FieldPolicy", "FieldPolicyOptions", "Target"]
