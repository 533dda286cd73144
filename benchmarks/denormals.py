"""What training saves on this processor by taking denormal numbers for 0, beside computing with them.

    python benchmarks/denormals.py --config base.yaml --init-from RUN [--samples 400] [--rounds 3]

The config's run is begun from the weights of another one, which has learnt already, and goes over so many sentences
once, with and without in turns, in one process with one thread. Prints the ratio of the medians.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from contextlib import nullcontext
from unittest.mock import patch

import torch

from lisa_core.config_file import resolve
from lisa_core.errors import LisaError
from lisa_core.trainer import Trainer


def seconds(config: str, init_from: str, samples: int, flushed: bool) -> float:
    """How long the run takes, from its first step to the end of its validation on 10 sentences."""
    with tempfile.TemporaryDirectory() as folder:
        flags = {
            "init_from": init_from,
            "output_dir": f"{folder}/run",
            "max_train_samples": samples,
            "max_val_samples": 10,
            "num_epochs": 1,
            "map_epochs": 0,
            "num_processes": 1,
        }
        with nullcontext() if flushed else patch("lisa_core.trainer.flushed_denormals", lambda _: nullcontext()):
            run = Trainer(resolve(flags, config).config)
            started = time.monotonic()
            run.run()
            return time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="a file for `lisa train --config`")
    parser.add_argument("--init-from", required=True, help="a run of it")
    parser.add_argument("--samples", type=int, default=400, help="sentences a round")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if min(options.samples, options.rounds) < 1:
        parser.error("--samples and --rounds must be at least 1")
    torch.set_num_threads(1)
    taken: dict[bool, list[float]] = {True: [], False: []}
    try:
        seconds(options.config, options.init_from, options.samples, True)  # keeps features for the rounds
        for turn in range(2 * options.rounds):
            taken[turn % 2 == 0].append(seconds(options.config, options.init_from, options.samples, turn % 2 == 0))
    except LisaError as error:
        sys.exit(f"error: {error}")
    ratio = statistics.median(taken[False]) / statistics.median(taken[True])
    print(f"as they are / taken for 0: {ratio:.2f} x the time")


if __name__ == "__main__":
    main()
