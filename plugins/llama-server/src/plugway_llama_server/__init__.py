"""llama.cpp's llama-server: one model or many, with load state and the window of one slot."""

from plugway_llama_server._plugin import LlamaServer, LlamaServerOptions

__all__ = ["LlamaServer", "LlamaServerOptions"]
