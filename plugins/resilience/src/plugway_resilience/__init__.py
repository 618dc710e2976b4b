"""What to do when a backend fails: repeat, go on to the next one, or leave it alone for a while.

The mechanism is the kernel's: the list of attempts, and that nothing is tried again once content
went to the client.
"""

from plugway_resilience._options import ResilienceOptions
from plugway_resilience._plugin import Resilience

__all__ = ["Resilience", "ResilienceOptions"]
