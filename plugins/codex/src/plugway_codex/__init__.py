"""Your own login of the `codex` command as a backend. That command stores and renews the login;
requests identify themselves as Plugway."""

from plugway_codex._plugin import Codex, CodexOptions

__all__ = ["Codex", "CodexOptions"]
