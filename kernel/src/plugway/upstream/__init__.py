"""Out: the client that backends use, and the ways to a server."""
