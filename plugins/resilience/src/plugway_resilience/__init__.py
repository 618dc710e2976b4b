"""What to do when a backend fails: retry it, try the next one, or skip it for a while.

The kernel makes the attempts, and never retries once content has been sent to the client.
"""

from plugway_resilience._options import ResilienceOptions
from plugway_resilience._plugin import Resilience

__all__ = ["Resilience", "ResilienceOptions"]
