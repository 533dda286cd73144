"""Trains the configurations of `configs/` with several seeds and puts what they reach into one table.

    python benchmarks/stamps/ablations.py data --weights weights --out runs/ablations --seeds 0 1 2

All configurations but `base` say only what they change in the one they extend, and with that one the table compares
them; `OUT/NAME-seedN.yaml` is the whole, a file for `lisa train --config`. A run that is there and complete is not
repeated, so the command can be stopped and given again: what was being trained begins anew.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml
from ablation_configs import CONFIGS, TOWERS, parent_of, read_config, settings
from ablation_table import SPLITS, Run, table

from lisa_core.durable import write_whole
from lisa_core.errors import ConfigError, LisaError
from lisa_core.evaluation_file import evaluation_path, read_evaluation
from lisa_core.provenance import revision

_RECORD = "ablation.json"
"""In a run's folder, when all of it is done: what it was."""


def finished(name: str, seed: int, config: dict[str, Any], out: Path, replace: bool = False) -> Run | None:
    """The run, if it is there and complete; None: it is to be made.

    Raises:
        ConfigError: if a complete one with other settings or data is there, or one that was evaluated on other data
            since, and it is not to be replaced.
    """
    folder = out / f"{name}-seed{seed}"
    try:
        record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        run = Run(folder, seed, record["train_seconds"], record["revision"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if _facts(config).items() <= record.items():
        reason = _evaluated_elsewhere(folder, Path(config["data"]["data"]))
        if reason is None:
            return run
    else:
        reason = f"{folder} is a complete run with other settings or data: give another --out, or --replace."
    if not replace:
        raise ConfigError(reason)
    return None


def _evaluated_elsewhere(folder: Path, data: Path) -> str | None:
    """Which of a run's evaluations was replaced by one on other data, and what to do; None: neither."""
    for split in SPLITS:
        path = evaluation_path(folder, split)
        of = read_evaluation(path).about.get("data") if path.is_file() else str(data)
        if Path(str(of)).resolve() != data.resolve():
            again = f"lisa eval {folder} --data {data} --split {split} --no-boundary"
            return f"{path} is of {of}: `{again}` makes that of {data} again."
    return None


def _facts(config: dict[str, Any]) -> dict[str, Any]:
    return {"config": config, "data_sha256": data_hash(Path(config["data"]["data"]))}


def run_one(name: str, seed: int, config: dict[str, Any], out: Path, jobs: int = 1, replace: bool = False) -> Run:
    """Train and evaluate one configuration with one seed, unless that is done with these settings and data.

    Raises:
        ConfigError: if one of the commands fails, or as `finished`.
    """
    found = finished(name, seed, config, out, replace)
    if found is not None:
        return found
    facts = _facts(config)  # now: the data may be replaced meanwhile
    folder = out / f"{name}-seed{seed}"
    done = folder / _RECORD
    data = Path(config["data"]["data"])
    done.unlink(missing_ok=True)  # what it vouches for is about to be replaced
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{name}-seed{seed}.yaml"
    whole = {**config, "optim": {**config.get("optim", {}), "seed": seed}}
    path.write_text(yaml.safe_dump(whole), encoding="utf-8")
    log = None if jobs == 1 else path.with_suffix(".log")
    if log is not None:
        log.unlink(missing_ok=True)
    trained_by = revision(CONFIGS)
    started = time.monotonic()
    _lisa("train", "--config", str(path), "--output-dir", str(folder), "--overwrite", log=log)
    seconds = time.monotonic() - started
    cache = config.get("speed", {}).get("feature_cache")
    kept = ("--feature-cache", cache) if cache else ()
    for split in SPLITS:
        _lisa("eval", str(folder), "--data", str(data), "--split", split, "--no-boundary", *kept, log=log)
    record = {**facts, "revision": trained_by, "train_seconds": seconds}
    write_whole(done, (json.dumps(record, indent=2) + "\n").encode())
    return Run(folder, seed, seconds, trained_by)


def run_all(
    configs: Mapping[str, dict[str, Any]], seeds: Sequence[int], out: Path, jobs: int = 1, replace: bool = False
) -> Iterator[tuple[str, list[Run]]]:
    """Each configuration with its runs, one after the other, as soon as all of its seeds are done.

    Raises:
        ConfigError: as `finished`, before anything is begun, or if a command fails; what runs beside it ends first,
            nothing else is begun.
    """
    for name, config in configs.items():
        for seed in seeds:
            if finished(name, seed, config, out, replace) is None:
                _check_towers(config)
    failed = threading.Event()

    def attempt(name: str, seed: int) -> Run | None:
        if failed.is_set():
            return None
        try:
            return run_one(name, seed, configs[name], out, jobs, replace)
        except BaseException as error:
            failed.set()
            if jobs > 1:  # what runs beside it may take long yet
                print(f"failed: {error}", file=sys.stderr, flush=True)
            raise

    with ThreadPoolExecutor(jobs) as pool:
        made = {name: [pool.submit(attempt, name, seed) for seed in seeds] for name in configs}
        everything = [future for runs in made.values() for future in runs]
        try:
            for name, futures in made.items():
                runs = [future.result() for future in futures]
                if None in runs:  # another one failed, whose error is the one to tell
                    break
                yield name, [run for run in runs if run is not None]
        finally:
            failed.set()
        for future in everything:
            future.result()


def _check_towers(config: dict[str, Any]) -> None:
    """Raise ConfigError if weights of the configuration are not there: a path that is no folder is taken for a name."""
    for name in TOWERS:
        tower = config.get("model", {}).get(name)
        if tower is not None and Path(tower).is_absolute() and not Path(tower).is_dir():
            raise ConfigError(f"there is no folder {tower}: write it with weights.py, or give another --weights.")


def data_hash(data: Path) -> str | None:
    """The hash of all files that scenes.py wrote down with them; None: they are of something else.

    Raises:
        ConfigError: if they are not there, or it was cut off.
    """
    path = data / "benchmark.json"
    if not data.is_dir():
        raise ConfigError(f"there is no folder {data}: run scenes.py {data}.")
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8")).get("sha256")
    except (ValueError, AttributeError):
        found = None
    if found is None:
        raise ConfigError(f"the scenes in {data} are not complete: run scenes.py {data} --force.")
    return found


def _lisa(*arguments: str, log: Path | None = None) -> None:
    """Run a `lisa` command; with a log, its output goes there and it has one thread, since others run beside it."""
    print(f"$ lisa {' '.join(arguments)}\n", end="", flush=True)  # in one piece: others beside it print, too
    command = [sys.executable, "-m", "lisa_core", *arguments]
    if log is None:
        code = subprocess.run(command, check=False).returncode
    else:
        with log.open("a", encoding="utf-8") as file:
            one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
            code = subprocess.run(command, check=False, stdout=file, stderr=file, env=one_thread).returncode
    if code != 0:
        told = "" if log is None else f": see {log}"
        raise ConfigError(f"`lisa {' '.join(arguments)}` ended with exit code {code}{told}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="what scenes.py wrote")
    parser.add_argument("--weights", type=Path, default=Path("weights"), help="what weights.py wrote")
    parser.add_argument("--out", type=Path, default=Path("runs/ablations"), help="for runs and table.md")
    parser.add_argument("--features", type=Path, help="for features of frozen towers; default: OUT/features")
    parser.add_argument("--configs", type=Path, default=CONFIGS, help="folder of configurations; default: ours")
    parser.add_argument("--only", nargs="+", help="these configurations; default: all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=float, default=1.0, help="so many times the epochs that a configuration names")
    parser.add_argument("--samples", type=int, help="most sentences to train on; default: as a configuration says")
    parser.add_argument(
        "--jobs",
        type=int,
        default=1,
        help="so many runs beside one another, each in one process with one thread: on two cores, two of them are done "
        "sooner than one by one in two processes. With 1 and with more they are different runs: give another --out",
    )
    parser.add_argument(
        "--replace", action="store_true", help="train anew what is there with other settings or data, and lose that"
    )
    options = parser.parse_args()
    if options.jobs < 1:
        parser.error("--jobs must be at least 1")
    if not options.epochs > 0:
        parser.error("--epochs must be above 0")
    if options.samples is not None and options.samples < 1:
        parser.error("--samples must be at least 1")
    if min(options.seeds) < 0:
        parser.error("--seeds must be 0 or above")
    try:
        names = options.only or ["base", *sorted(p.stem for p in options.configs.glob("*.yaml") if p.stem != "base")]
        configs = {
            name: settings(
                read_config(name, options.configs),
                options.data.resolve(),
                options.weights.resolve(),
                (options.features or options.out / "features").resolve(),
                options.epochs,
                options.samples,
                options.jobs > 1,
            )
            for name in dict.fromkeys(names)
        }
        parents = {name: parent_of(name, options.configs) for name in configs}
        results: dict[str, list[Run]] = {}
        seeds = list(dict.fromkeys(options.seeds))
        command = shlex.join(["ablations.py", *sys.argv[1:]])
        for name, runs in run_all(configs, seeds, options.out, options.jobs, options.replace):
            results[name] = runs
            text = table(results, parents, data_hash(options.data), command)
            (options.out / "table.md").write_text(text + "\n", encoding="utf-8")
            print(text, flush=True)
    except LisaError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {error.filename or options.out}: {error.strerror or error}; mend that, or give another --out")
    except KeyboardInterrupt:
        sys.exit("stopped: the same command goes on with the run that was being made, from its beginning")


if __name__ == "__main__":
    main()
