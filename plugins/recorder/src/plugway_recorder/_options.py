"""What a user may set. No option starts a recording: only the person of a conversation does."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator, Field

from plugway import Options, Secret

LEAST_KEY: Final = 20


def _long_enough(key: Secret) -> Secret:
    if len(key.get_secret_value().strip()) < LEAST_KEY:
        raise ValueError(
            f"the key has fewer than {LEAST_KEY} characters: "
            "`plugway recordings new-key` makes one that cannot be guessed"
        )
    return key


class RecorderOptions(Options):
    """Options of `recorder`."""

    key: Annotated[Secret, AfterValidator(_long_enough)]
    """Key that encrypts recordings, such as `{$keyring: recordings}`; `plugway recordings new-key`
    makes one. Without it they cannot be read again."""
    turns: int = Field(default=500, ge=1, le=10_000)
    """Most turns of a conversation; its recording ends with the last of them."""
    mib: int = Field(default=512, ge=1, le=65_536)
    """Most MiB of all recordings together, encrypted; nothing more is recorded until some are
    removed."""
    days: int = Field(default=30, ge=1, le=366)
    """Days after its last turn until a recording is removed."""
