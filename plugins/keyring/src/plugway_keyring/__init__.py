"""`plugway keys`: keys in the system's keyring, each held to the one place it may be sent to."""

from plugway_keyring._commands import keys_app

__all__ = ["keys_app"]
