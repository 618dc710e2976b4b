"""Runs the gateway as a service of this user. `find` is for other plugins."""
