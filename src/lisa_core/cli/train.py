"""`lisa train`: a config from flags, a run with a progress bar."""

from __future__ import annotations

from lisa_core.cli.options import train_options
from lisa_core.config import TrainConfig


@train_options
def train(config: TrainConfig) -> None:
    """Train a segmenter on a folder in ReasonSeg layout.

    Try the whole path first, in two minutes and without any download:

      lisa data synth shapes

      lisa train --vlm smolvlm --vlm-model-name tiny --data shapes --output-dir runs/shapes --num-epochs 1

    Then your own: --vlm-model-name takes a hub name or a local folder, --data your pictures and outlines.
    """
    config.validate()  # before torch is imported: a wrong flag should not take seconds to hear of

    from lisa_core.progress import RichReporter
    from lisa_core.trainer import Trainer

    reporter = RichReporter()
    trainer = Trainer(config, reporter)
    try:
        result = trainer.run()
    finally:
        reporter.stop()
    reporter.line(
        f"best val gIoU {result.giou:.4f}; checkpoints, metrics.jsonl and config.json are in {trainer.output}"
    )
    reporter.line(f'next: lisa segment {trainer.output} IMAGE "what to segment"')
