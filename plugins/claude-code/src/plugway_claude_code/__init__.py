"""Claude Code on Plugway: `plugway claude`, `plugway setup claude-code`, and what they install.

Nothing is imported here: each command loads what it needs, and the status line is asked often.
"""
