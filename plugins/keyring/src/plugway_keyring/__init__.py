"""Keys in the system's keyring, each for one address: `plugway keys` and the `$keyring` lookup."""
