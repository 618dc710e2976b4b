"""What servers really send, tried through the gateway: each kind by a table of examples."""
