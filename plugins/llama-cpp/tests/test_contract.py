import tempfile
from pathlib import Path

import pytest
import tiny_gguf

from plugway.testing import BackendContract
from plugway_llama_cpp import LlamaCpp

pytestmark = pytest.mark.anyio


class TestContract(BackendContract):
    plugin = LlamaCpp
    _path = tiny_gguf.write(Path(tempfile.mkdtemp()) / "test-model.gguf")
    options = {"model": str(_path), "context": 2048, "threads": 1, "slots": 2}
