"""What plugins with engines for pictures and sound share. A library, not a plugin.

Gateway side: `engine`, `routes`, `uploads`, `checks`, `streams`, `folders`, `files`, `commands`.
Worker side: `worker`, `pictures`. Nothing is imported here, so that a worker process starts fast.
"""
