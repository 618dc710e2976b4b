"""vLLM, with the window of each model and of each adapter on it."""

from plugway_vllm._plugin import Vllm, VllmOptions

__all__ = ["Vllm", "VllmOptions"]
