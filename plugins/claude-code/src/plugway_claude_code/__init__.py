"""Claude Code on Plugway: `plugway claude`, `plugway setup claude-code`, and what they install."""

from plugway_claude_code._command import claude_app
from plugway_claude_code._helpers import statusline_app, up_app
from plugway_claude_code._setup_command import setup_app

__all__ = ["claude_app", "setup_app", "statusline_app", "up_app"]
