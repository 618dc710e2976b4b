"""Exports traces and metrics of exchanges; see the README."""

from plugway_telemetry._options import TelemetryOptions
from plugway_telemetry._plugin import Telemetry

__all__ = ["Telemetry", "TelemetryOptions"]
