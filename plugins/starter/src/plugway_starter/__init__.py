"""Data only: the stack that runs without a configuration file, and the example to start from."""
