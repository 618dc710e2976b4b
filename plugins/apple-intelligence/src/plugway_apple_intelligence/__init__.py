"""Apple's own models: through `fm serve` or `apfel` on a Mac, or in process by Apple's Python SDK.

For titles, small chats and side requests: the window is about 4,096 tokens.
"""

from plugway_apple_intelligence._options import AppleIntelligenceOptions
from plugway_apple_intelligence._plugin import AppleIntelligence

__all__ = ["AppleIntelligence", "AppleIntelligenceOptions"]
