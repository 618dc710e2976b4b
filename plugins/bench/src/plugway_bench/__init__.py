"""`plugway bench` measures every configured endpoint; the plugin tells it the gateway's share."""

from plugway_bench._command import bench_app
from plugway_bench._plugin import Bench

__all__ = ["Bench", "bench_app"]
