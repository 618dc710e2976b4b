"""Load tools: `python -m bench.gateway` compares a direct connection, nginx and the gateway.

Everything stays on the loopback interface and is bounded in count and time. Compare ratios of one
run, not figures of two.
"""
