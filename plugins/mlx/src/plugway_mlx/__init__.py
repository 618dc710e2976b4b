"""Local inference: MLX models run by mlx-lm in a supervised process.

The gateway's process imports neither MLX nor a model; a crash there fails only its requests.
"""

from plugway_mlx._options import MlxOptions
from plugway_mlx._plugin import Mlx

__all__ = ["Mlx", "MlxOptions"]
