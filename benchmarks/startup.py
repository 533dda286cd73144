"""Wall time of `lisa --help`, beside that of an empty Python program in the same run.

Run it with the environment's Python: `.venv/bin/python benchmarks/startup.py`.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

RUNS = 20
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "lisa --help": ["-m", "lisa_core", "--help"],
    "lisa plugins": ["-m", "lisa_core", "plugins"],
}


def wall_time(arguments: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for arguments in COMMANDS.values():
        wall_time(arguments)  # warm the file cache and write the .pyc files
    for _ in range(RUNS):  # in turn, so that a busy spell of the machine falls on all of them
        for name, arguments in COMMANDS.items():
            times[name].append(wall_time(arguments))
    base = statistics.median(times["python -c pass"])
    print(f"median of {RUNS} warm runs, Python {sys.version.split()[0]}")
    for name, taken in times.items():
        median = statistics.median(taken)
        print(f"{name:16} {median:.3f} s  {median / base:5.1f} x `python -c pass`")


if __name__ == "__main__":
    main()
