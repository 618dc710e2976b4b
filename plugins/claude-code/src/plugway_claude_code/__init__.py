"""Claude Code on Plugway: `plugway claude`, `plugway setup claude-code`, and their helpers.

Nothing is imported here: each command imports what it needs, because the status line runs often.
"""
