"""Recommends an endpoint from a conversation's size and needs and from what was measured.

Contacts nobody: what it knows, it has seen in the exchanges that were served.
"""

from plugway_recommend._options import Price, RecommendOptions
from plugway_recommend._plugin import Recommend
from plugway_recommend._speeds import Speed, Speeds

__all__ = ["Price", "Recommend", "RecommendOptions", "Speed", "Speeds"]
