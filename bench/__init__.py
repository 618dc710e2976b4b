"""Load tools: `python -m bench.gateway` compares a direct connection, nginx and the gateway.

All traffic stays on the loopback interface, and count and time are limited. Compare ratios within
one run, not figures of two runs.
"""
