"""`plugway doctor`: finds out why it does not work, and says what mends it."""

from plugway_doctor._checks import Check
from plugway_doctor._command import doctor_app

__all__ = ["Check", "doctor_app"]
