"""Your own login of the `codex` command as a backend: read where that command keeps it, renewed by
that command itself, under Plugway's own name."""

from plugway_codex._plugin import Codex, CodexOptions

__all__ = ["Codex", "CodexOptions"]
