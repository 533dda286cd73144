"""Every family's tiny model on the same scenes with the same budget: what it reaches held out, and how fast it trains.

Runs the demo for each family, then short trainings of all of them in turn for the rates, and prints a table in
Markdown; `--write docs/families.md` puts it between that page's markers. Rates are given beside smolvlm's: absolute
times say more about the machine.

    .venv/bin/python benchmarks/families.py --epochs 4 --write docs/families.md
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from lisa_core.provenance import revision

DEMO = Path(__file__).parents[1] / "examples" / "demo.py"
sys.path.insert(0, str(DEMO.parent))
from demo import from_scratch  # noqa: E402  (a script's folder is no package)

FAMILIES = ("smolvlm", "llava", "qwenvl", "paligemma", "clip-llm")
BASELINE = FAMILIES[0]
ROUNDS = 3
SAMPLES = 320
MARKERS = re.compile(r"(<!-- families.py -->\n).*?(<!-- /families.py -->)", re.DOTALL)


def run_demo(family: str, out: Path, epochs: int) -> None:
    options = ["--vlm", family, "--from-scratch", "--out", str(out), "--epochs", str(epochs)]
    code = subprocess.run([sys.executable, str(DEMO), *options], check=False).returncode
    if code != 0:
        sys.exit(code)  # it has said why


def figures(run: Path) -> dict[str, float]:
    """What a demo run left behind: held-out figures."""
    held_out = json.loads((run / "eval_val.json").read_text())
    return {"giou": held_out["giou"], "listening": held_out["listening"]}


def rates(families: list[str], data: Path) -> dict[str, float]:
    """Training samples a second, the median of short runs; in turn, so that a busy spell falls on all of them."""
    taken: dict[str, list[float]] = {family: [] for family in families}
    for _ in range(ROUNDS):
        for family in families:
            with tempfile.TemporaryDirectory() as folder:
                run = Path(folder) / "run"
                command = [sys.executable, "-m", "lisa_core", "train", "--vlm", family, *from_scratch(family)]
                limits = ["--max-train-samples", str(SAMPLES), "--max-val-samples", "4"]
                # The second epoch is not validated and has no first steps to warm up.
                budget = ["--num-epochs", "3", "--eval-every", "3", "--data", str(data), "--output-dir", str(run)]
                subprocess.run([*command, *limits, *budget], check=True, capture_output=True)
                records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
            (second,) = [record for record in records if record["kind"] == "epoch" and record["epoch"] == 2]
            taken[family].append(SAMPLES / second["seconds"])
    return {family: statistics.median(found) for family, found in taken.items()}


def parameters(family: str) -> int:
    from lisa_core.registry import get_registry

    vlm = get_registry().load_vlm_class(family).tiny()
    return sum(parameter.numel() for parameter in vlm.parameters())


def table(found: dict[str, dict[str, float]], rate: dict[str, float], epochs: int, code: str) -> str:
    """The table in Markdown; `code` is the revision that trained."""
    base = rate[BASELINE]
    lines = [
        f"| family | parameters of `tiny` | gIoU | listening | samples/s | samples/s beside {BASELINE} |",
        "|---|---|---|---|---|---|",
    ]
    for family, row in found.items():
        lines.append(
            f"| `{family}` | {parameters(family) / 1e6:.1f} M | {row['giou']:.3f} | {row['listening']:.1%} "
            f"| {rate[family]:.0f} | {rate[family] / base:.2f} x |"
        )
    lines.append("")
    lines.append(
        f"Validation split of the demo's scenes after {epochs} epochs from random weights, seed 0, revision {code}. "
        f"Rates: median of {ROUNDS} short runs, {threads()} to each."
    )
    return "\n".join(lines)


def threads() -> str:
    import torch

    count = torch.get_num_threads()
    return f"{count} thread" + "s" * (count > 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for scenes and runs")
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), help=f"which to run; {BASELINE} among them")
    parser.add_argument("--reuse", action="store_true", help="read runs that --out already holds")
    parser.add_argument("--write", type=Path, help="page whose table is to be replaced")
    options = parser.parse_args()
    code = revision(Path(__file__).parent) + (" or earlier, runs reused" if options.reuse else "")
    for family in options.families:
        if not (options.reuse and (options.out / family / "eval_val.json").exists()):
            run_demo(family, options.out, options.epochs)
    found = {family: figures(options.out / family) for family in options.families}
    text = table(found, rates(options.families, options.out / "shapes"), options.epochs, code)
    print(text)
    if options.write is not None:
        page = options.write.read_text(encoding="utf-8")
        if not MARKERS.search(page):
            sys.exit(f"{options.write} has no <!-- families.py --> markers")
        options.write.write_text(MARKERS.sub(lambda match: f"{match[1]}{text}\n{match[2]}", page), encoding="utf-8")


if __name__ == "__main__":
    main()
