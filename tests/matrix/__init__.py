"""What of each API reaches each backend, and what of its answer comes back: found by trying it."""
