"""What another memory allocator saves a `lisa` command on a CPU: the processor's seconds with it over those without.

    python benchmarks/allocator.py /usr/lib/x86_64-linux-gnu/libjemalloc.so.2 train --config mine.yaml --overwrite

All behind the library is the command, which is run with and without it in turn; imports, reading and writing count
too. Of Debian's packages, libtcmalloc-minimal4 and libjemalloc2 hold such libraries.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def cpu_seconds(arguments: Sequence[str], preload: Path | None) -> float:
    """What a `lisa` command and its processes take of all cores, in user and system mode."""
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    if preload is not None:
        environment["LD_PRELOAD"] = str(preload)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "lisa_core", *arguments]
    done = subprocess.run(command, check=False, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if done.returncode != 0:
        sys.exit(f"`lisa {' '.join(arguments)}` ended with exit code {done.returncode}:\n{done.stderr.decode()}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", type=Path, help="for LD_PRELOAD")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("command", nargs=argparse.REMAINDER, help="arguments of `lisa`")
    options = parser.parse_args()
    if not options.library.is_file():  # the loader would only warn, and leave it out
        parser.error(f"there is no {options.library}")
    if not options.command:
        parser.error("say what to run: train --config FILE, for instance")
    cpu_seconds(options.command, None)  # what the command keeps (features, say) is there from now on
    ratios = []
    for _ in range(options.rounds):
        plain = cpu_seconds(options.command, None)
        other = cpu_seconds(options.command, options.library)
        ratios.append(other / plain)
        print(f"{plain:.1f} s, with {options.library.name} {other:.1f} s: {ratios[-1]:.3f}", flush=True)
    print(f"median of {options.rounds} rounds: {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    main()
