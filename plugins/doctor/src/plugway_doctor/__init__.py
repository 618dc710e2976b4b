"""`plugway doctor`: finds configuration and runtime problems, and says how to fix them."""

from plugway_doctor._checks import Check
from plugway_doctor._command import doctor_app

__all__ = ["Check", "doctor_app"]
