"""Memory limits of Metal: all that differs between a Mac and MLX on the CPU.

On the CPU there is no limit, because Linux limits and reports the process itself.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from plugway_mlx import _mlx

_log = logging.getLogger(__name__)

_MIB: Final = 1 << 20
_CACHE_SHARE: Final = 0.05
"""Share of the limit for buffers that MLX keeps for reuse."""
_FULL: Final = 0.9
_RECOMMENDED: Final = "max_recommended_working_set_size"


class Metal:
    """The memory that this process may use."""

    def __init__(self, share: float) -> None:
        """`share` of what Metal recommends for a process."""
        metal = bool(_mlx.mx.metal.is_available()) and _mlx.mx.default_device() == _mlx.mx.gpu
        info: dict[str, Any] = _mlx.mx.device_info() if metal else {}
        self.recommended = int(info.get(_RECOMMENDED, 0))
        """Bytes that Metal recommends for a process; 0 without Metal."""
        self.most = int(self.recommended * share)

    def limit(self, weights: int) -> str:
        """Set the limits, and keep the weights resident.

        Returns why the model cannot run within them; empty if it can.
        """
        if not self.most:
            return ""
        if weights > self.most:
            return (
                f"its weights need {weights / _MIB:,.0f} MiB, and Metal recommends at most "
                f"{self.recommended / _MIB:,.0f} MiB for a process, of which `memory_share` allows "
                f"{self.most / _MIB:,.0f} MiB. Use a model with fewer bits or parameters"
            )
        _mlx.mx.set_memory_limit(self.most)
        _mlx.mx.set_cache_limit(int(self.most * _CACHE_SHARE))
        _mlx.mx.set_wired_limit(min(self.most, self.recommended))
        _log.info("Metal: at most %d of %d MiB", self.most // _MIB, self.recommended // _MIB)
        return ""

    def pressed(self) -> bool:
        """Whether less than a tenth of the allowed memory is left."""
        return bool(self.most) and int(_mlx.mx.get_active_memory()) > _FULL * self.most
