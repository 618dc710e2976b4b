"""Answers the safety check of Claude Code's auto mode for backends that do not answer it."""
