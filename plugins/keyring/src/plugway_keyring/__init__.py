"""Keys in the system's keyring, each for one place: `plugway keys`, and what `$keyring` asks."""
