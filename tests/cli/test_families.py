"""Every family trains by `lisa train` on the demo's kind of scenes, in every mode, and its checkpoint segments."""

from __future__ import annotations

import json
import math

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("vlm", ["llava", "smolvlm", "qwenvl", "paligemma", "clip-llm"])
@pytest.mark.parametrize("fusion", ["joint", "late"])
@pytest.mark.parametrize("mask_features", ["vlm", "sam"])
def test_a_family_trains_and_segments(scenes, tmp_path, invoke, vlm, fusion, mask_features):
    run = tmp_path / "run"
    trained = invoke(
        *("train", "--vlm", vlm, "--vlm-model-name", "tiny", "--fusion", fusion, "--mask-features", mask_features),
        *("--data", str(scenes), "--output-dir", str(run), "--num-epochs", "2", "--batch-size", "4", "--device", "cpu"),
    )
    assert trained.exit_code == 0, trained.output
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [record["loss"] for record in records if record["kind"] == "step"]
    assert all(map(math.isfinite, losses)) and sum(losses[-3:]) < sum(losses[:3])

    picture = next((scenes / "val").glob("*.jpg"))
    drawn = invoke("segment", str(run), str(picture), "the red circle", "-o", str(tmp_path / "out"))
    assert drawn.exit_code == 0, drawn.output
    assert len(list((tmp_path / "out").glob("*.png"))) == 2
