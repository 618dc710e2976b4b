"""Outbound: the HTTP client that backends use, with its connections and proxies."""
