"""Trains the configurations of `configs/` with several seeds and puts what they reach into one table.

    python benchmarks/stamps/ablations.py data --weights weights --out runs/ablations --seeds 0 1 2

Every configuration is a file for `lisa train --config`; all but `base` say only what they change (`extends: base`).
A run that is there and complete is not repeated, so the command can be stopped and given again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from lisa_core.bootstrap import by_picture, interval, resampled
from lisa_core.errors import ConfigError, LisaError
from lisa_core.evaluation_file import read_evaluation

CONFIGS = Path(__file__).parent / "configs"
SPLITS = ("val", "test_unseen")


@dataclass(frozen=True)
class Estimate:
    """A figure over all seeds of a configuration."""

    mean: float
    """Of the seeds' figures."""
    low: float
    """Where the interval begins: 95% of what other pictures of the kind would give these models."""
    high: float
    """Where it ends."""
    spread: float
    """Largest less smallest of the seeds' figures."""


def read_config(name: str, folder: Path = CONFIGS) -> dict[str, Any]:
    """A configuration with what it `extends` filled in.

    Raises:
        ConfigError: if there is none of that name.
    """
    path = folder / f"{name}.yaml"
    try:
        config: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        known = ", ".join(sorted(found.stem for found in folder.glob("*.yaml")))
        raise ConfigError(f"there is no configuration {name!r}: choose from {known}.") from error
    parent = config.pop("extends", None)
    if parent is None:
        return config
    merged = read_config(parent, folder)
    for section, values in config.items():
        merged[section] = {**merged.get(section, {}), **values}
    return merged


def settings(config: dict[str, Any], data: Path, weights: Path, features: Path, epochs: float) -> dict[str, Any]:
    """The configuration with the paths of this machine, and for a shorter comparison so many times the epochs."""
    config = json.loads(json.dumps(config))
    for name in ("image_encoder_model_name", "text_encoder_model_name", "vlm_model_name"):
        value = config["model"].get(name)
        if value is not None and value.startswith("weights/"):
            config["model"][name] = str(weights / value.removeprefix("weights/"))
    config["data"]["data"] = str(data)
    if config.get("speed", {}).get("feature_cache"):
        config["speed"]["feature_cache"] = str(features)
    optim = config["optim"]
    optim["num_epochs"] = max(1, round(optim["num_epochs"] * epochs))
    optim["map_epochs"] = min(round(optim.get("map_epochs", 0) * epochs), optim["num_epochs"] - 1)
    return config


def run_one(name: str, seed: int, config: dict[str, Any], out: Path) -> Path:
    """Train and evaluate one configuration with one seed, unless that is done; returns the run's folder."""
    run = out / f"{name}-seed{seed}"
    record = {"config": config, "seed": seed}
    done = run / "ablation.json"
    if done.is_file() and json.loads(done.read_text())["config"] == config:
        return run
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{name}-seed{seed}.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    started = time.monotonic()
    _lisa("train", "--config", str(path), "--output-dir", str(run), "--seed", str(seed), "--overwrite")
    seconds = time.monotonic() - started
    cache = config.get("speed", {}).get("feature_cache")
    kept = ("--feature-cache", cache) if cache else ()
    for split in SPLITS:
        _lisa("eval", str(run), "--data", config["data"]["data"], "--split", split, "--no-boundary", *kept)
    done.write_text(json.dumps({**record, "train_seconds": seconds}, indent=2) + "\n")
    return run


def _lisa(*arguments: str) -> None:
    print("$ lisa", *arguments, flush=True)
    subprocess.run([sys.executable, "-m", "lisa_core", *arguments], check=True)


def estimates(runs: Sequence[Path], split: str) -> dict[str, Estimate]:
    """gIoU, listening accuracy and gIoU with the sentence blanked, over all runs of a configuration."""
    shares = []
    for run in runs:
        records = read_evaluation(run, split).records
        rows = np.array([[r.iou, 1, r.listening_hits, r.listening_pairs, r.blind.get("blank", 0.0)] for r in records])
        shares.append(by_picture(rows, [record.picture for record in records]))
    # One draw of pictures serves all seeds: they were asked about the same ones.
    draws = np.stack([resampled(share) for share in shares])  # [seeds,R,5]
    totals = np.stack([share.sum(0) for share in shares])  # [seeds,5]
    found = {}
    for name, top, bottom in (("giou", 0, 1), ("listening", 2, 3), ("blank", 4, 1)):
        each = totals[:, top] / totals[:, bottom]
        low, high = interval((draws[..., top] / draws[..., bottom]).mean(0)) or (float("nan"), float("nan"))
        found[name] = Estimate(float(each.mean()), low, high, float(each.max() - each.min()))
    return found


def table(results: dict[str, dict[str, dict[str, Estimate]]], minutes: dict[str, float]) -> str:
    """A Markdown table, one line per configuration."""
    lines = [
        "| configuration | val gIoU | val listening | unseen gIoU | unseen listening | val gIoU, blanked | minutes |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, by_split in results.items():
        cells = [_cell(by_split[split][figure]) for split in SPLITS for figure in ("giou", "listening")]
        blank = by_split["val"]["blank"]
        lines.append(f"| `{name}` | {' | '.join(cells)} | {blank.mean:.3f} | {minutes[name]:.0f} |")
    return "\n".join(lines)


def _cell(value: Estimate) -> str:
    return f"{value.mean:.3f} ({value.low:.3f} to {value.high:.3f}; seeds within {value.spread:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="what scenes.py wrote")
    parser.add_argument("--weights", type=Path, default=Path("weights"), help="what weights.py wrote")
    parser.add_argument("--out", type=Path, default=Path("runs/ablations"), help="for runs, results.json, table.md")
    parser.add_argument("--features", type=Path, help="for features of frozen towers; default: OUT/features")
    parser.add_argument("--configs", type=Path, default=CONFIGS, help="folder of configurations; default: ours")
    parser.add_argument("--only", nargs="+", help="these configurations; default: all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=float, default=1.0, help="so many times the epochs that a configuration names")
    options = parser.parse_args()
    try:
        names = options.only or ["base", *sorted(p.stem for p in options.configs.glob("*.yaml") if p.stem != "base")]
        configs = {
            name: settings(
                read_config(name, options.configs),
                options.data.resolve(),
                options.weights.resolve(),
                (options.features or options.out / "features").resolve(),
                options.epochs,
            )
            for name in names
        }
        results, minutes = {}, {}
        for name, config in configs.items():
            runs = [run_one(name, seed, config, options.out) for seed in options.seeds]
            results[name] = {split: estimates(runs, split) for split in SPLITS}
            times = [json.loads((run / "ablation.json").read_text())["train_seconds"] for run in runs]
            minutes[name] = float(np.mean(times)) / 60
            text = table(results, minutes)
            (options.out / "table.md").write_text(text + "\n")
            print(text, flush=True)
    except LisaError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
