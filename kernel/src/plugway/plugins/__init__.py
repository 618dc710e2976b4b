"""What a plugin is, how its hooks are run, and what it sees of the gateway."""
