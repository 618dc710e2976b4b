"""Recommends an endpoint by a conversation's size and needs and by measured speeds.

Sends no request: it measures the exchanges that the gateway serves.
"""

from plugway_recommend._options import Price, RecommendOptions
from plugway_recommend._plugin import Recommend
from plugway_recommend._speeds import Speed, Speeds

__all__ = ["Price", "Recommend", "RecommendOptions", "Speed", "Speeds"]
