"""What the trainer costs: its samples/s over those of a bare PyTorch loop on the same modules and batches.

    python benchmarks/train_overhead.py [--steps 40] [--rounds 5]

Both train the tiny SmolVLM on the same batches, in alternating rounds; the figure is the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from lisa_core.config import DataConfig, ModelConfig, OptimConfig, RunConfig, TrainConfig
from lisa_core.data.synth import SynthConfig, synthesize
from lisa_core.determinism import deterministic
from lisa_core.engine import Engine
from lisa_core.objective import loss_terms, loss_weights
from lisa_core.tracking import Tracking
from lisa_core.trainer import Trainer
from lisa_core.vlm import Batch


def bare(model: Any, optimizer: torch.optim.Optimizer, batches: list[Batch], weights: dict[str, float]) -> None:
    """The loop one would write by hand."""
    for batch in batches:
        terms, _ = loss_terms(model(batch), batch)
        loss = torch.stack([weights[name] * term.total / term.count for name, term in terms.items()]).sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def ours(trainer: Trainer, batches: list[Batch]) -> None:
    """The trainer's own way through the same batches: step, log, count."""
    for batch in batches:
        micros = trainer._micro_batches([batch])
        trainer._count(trainer.engine.step(micros), micros)
        trainer.position.step += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        synthesize(folder / "data", SynthConfig(train=40, val=1, test=0, size=96))
        trainer = Trainer(
            TrainConfig(
                model=ModelConfig(vlm="smolvlm", vlm_model_name="tiny"),
                data=DataConfig(data=str(folder / "data"), batch_size=16),
                optim=OptimConfig(lr_schedule="constant_with_warmup"),
                run=RunConfig(output_dir=str(folder / "run"), device="cpu"),
            )
        )
        trainer.engine = Engine(trainer.model, trainer.config, trainer.processes, total_steps=10**6)
        trainer.tracking = Tracking(trainer.config, trainer.processes)
        trainer._start_folder()
        model = trainer.model.train()
        indices = range(len(trainer.train_data))
        made = [
            trainer.collator([trainer.train_data.load(i % len(indices)) for i in range(start, start + 16)])
            for start in range(0, 16 * args.steps, 16)
        ]
        optimizer, weights = trainer.engine.optimizer, loss_weights(trainer.config.loss)
        ours(trainer, made[:3])
        ratios = []
        for _ in range(args.rounds):
            started = time.perf_counter()
            bare(model, optimizer, made, weights)
            middle = time.perf_counter()
            with deterministic(trainer.processes.device):
                ours(trainer, made)
            ratios.append((middle - started) / (time.perf_counter() - middle))
        print(f"trainer / bare loop, samples per second: {statistics.median(ratios):.3f} (rounds: ", end="")
        print(", ".join(f"{ratio:.3f}" for ratio in ratios) + ")")


if __name__ == "__main__":
    main()
