"""Answers the safety check of Claude Code's auto mode for backends that do not answer it."""

from plugway_auto_mode._options import AutoModeOptions, JudgeOptions
from plugway_auto_mode._plugin import AutoMode

__all__ = ["AutoMode", "AutoModeOptions", "JudgeOptions"]
