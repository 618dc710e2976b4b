"""Inbound: the socket, authentication, routes, and the reload of a configuration."""
