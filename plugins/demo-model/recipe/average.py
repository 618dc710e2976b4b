"""Mix exported weights with those of a later training, so that what either lost comes back."""

from __future__ import annotations

import argparse
import pathlib

import torch
from model import Config, Model
from train import shipped


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=pathlib.Path, help="exported safetensors")
    parser.add_argument("checkpoint", type=pathlib.Path, help="of the later training")
    parser.add_argument("mixed", type=pathlib.Path, help="checkpoint to write")
    parser.add_argument("--share", type=float, default=0.2, help="of the later weights")
    options = parser.parse_args()
    before = shipped(options.weights, Model(Config()))
    state = torch.load(options.checkpoint)
    state["model"] = {
        name: torch.lerp(weight, state["model"][name].float(), options.share)
        for name, weight in before.items()
    }
    torch.save(state, options.mixed)


if __name__ == "__main__":
    main()
