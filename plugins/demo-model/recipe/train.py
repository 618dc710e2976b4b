"""Train on the CPU; resumable from its own checkpoint. The schedule follows the clock."""

from __future__ import annotations

import argparse
import math
import pathlib
import time

import torch
import torch.nn.functional as F
from data import Rows
from model import Config, Model
from safetensors.torch import load_file
from torch.utils.data import DataLoader


def shipped(path: pathlib.Path, model: Model) -> dict[str, torch.Tensor]:
    """Exported weights under the names of training; the empty sixth layer is left out."""
    found = load_file(path)
    return {name: found[f"model.{name}"].float() for name in model.state_dict()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tokenizer", type=pathlib.Path)
    parser.add_argument("checkpoint", type=pathlib.Path)
    parser.add_argument("--minutes", type=float, default=40)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--length", type=int, default=640)
    parser.add_argument("--noise", type=float, default=0.25)
    parser.add_argument("--muon", type=float, default=0.02, help="0: Adam for everything")
    parser.add_argument("--adam", type=float, default=3e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--restart-schedule",
        action="store_true",
        help="keep the weights of the checkpoint, begin the schedule anew",
    )
    parser.add_argument(
        "--weights", type=pathlib.Path, help="exported safetensors to begin with, as shipped"
    )
    parser.add_argument("--compile", action="store_true")
    parser.add_argument(
        "--bfloat16",
        action="store_true",
        help="faster where the CPU has AMX or AVX-512 BF16, many times slower where it has not",
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    model = Model(Config())
    matrices = [p for n, p in model.named_parameters() if n.endswith("proj.weight")]
    others = [p for n, p in model.named_parameters() if not n.endswith("proj.weight")]
    optimisers: dict[str, torch.optim.Optimizer] = {}
    if options.muon:
        optimisers["muon"] = torch.optim.Muon(
            matrices, lr=options.muon, weight_decay=0.02, momentum=0.95, adjust_lr_fn="original"
        )
    adam = others if options.muon else [*others, *matrices]
    optimisers["adam"] = torch.optim.AdamW(
        adam, lr=options.adam, betas=(0.9, 0.98), weight_decay=0.0
    )
    step, seen, past = 0, 0, 0.0
    if options.checkpoint.exists():
        state = torch.load(options.checkpoint)
        model.load_state_dict(state["model"])
        for name, optimiser in optimisers.items():
            optimiser.load_state_dict(state[name])
        step, seen = state["step"], state["tokens"]
        past = 0.0 if options.restart_schedule else state["minutes"]
    elif options.weights is not None:
        model.load_state_dict(shipped(options.weights, model))
    rows = Rows(options.tokenizer, options.length, options.seed * 100_000 + step, options.noise)
    loader = iter(DataLoader(rows, batch_size=options.rows, num_workers=1, prefetch_factor=6))
    forward = torch.compile(model) if options.compile else model
    started = saved = time.time()
    first, mean, progress = step, 0.0, 0.0
    while progress < 1.0:
        progress = min(1.0, (past + (time.time() - started) / 60) / options.minutes)
        warm = min(1.0, (step - first + 1) / 60)
        share = warm * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * progress)))
        for name, optimiser in optimisers.items():
            optimiser.param_groups[0]["lr"] = getattr(options, name) * share
        tokens, weights = next(loader)
        with torch.autocast("cpu", torch.bfloat16, enabled=options.bfloat16):
            hidden = forward(tokens[:, :-1])
            keep = weights > 0
            logits = hidden[keep] @ model.embed_tokens.weight.T
        losses = F.cross_entropy(logits.float(), tokens[:, 1:][keep], reduction="none")
        kept = weights[keep]
        loss = (losses * kept).sum() / kept.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimiser in optimisers.values():
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        full = kept == 1.0
        value = losses[full].mean().item()
        seen += tokens.numel()
        mean = value if not mean else 0.97 * mean + 0.03 * value
        if step % 20 == 0 or step < first + 5:
            speed = (step - first + 1) * tokens[:, 1:].numel() / (time.time() - started)
            print(
                f"{step} loss {value:.4f} mean {mean:.4f} kept {keep.float().mean():.2f} "
                f"lr {share:.3f} {speed:.0f} tokens/s total {seen}",
                flush=True,
            )
        step += 1
        if time.time() - saved > 120 or progress == 1.0:
            minutes = past + (time.time() - started) / 60
            state = {
                "model": model.state_dict(),
                **{name: optimiser.state_dict() for name, optimiser in optimisers.items()},
                "step": step,
                "tokens": seen,
                "minutes": minutes,
            }
            partial = options.checkpoint.with_suffix(".partial")
            torch.save(state, partial)
            partial.replace(options.checkpoint)
            saved = time.time()


if __name__ == "__main__":
    main()
