"""The plain script does the same work: the same trials with the same scores, at a tiny size."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.markers import slow
from tests.tiny_models import make_tiny

ROOT = Path(__file__).resolve().parents[2]


@slow
def test_the_plain_script_comes_to_the_same_scores(tmp_path: Path) -> None:
    make_tiny(tmp_path / "model", "llama", window=1024)
    options = ["--model", "model", "--precision", "fp32", "--train-size", "12", "--validation-size", "9"]
    options += ["--test-size", "18", "--trials", "1", "--seeds", "1", "--keep", str(tmp_path)]
    ended = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "against_plain_script.py"), *options],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = json.loads(ended.stdout[ended.stdout.rindex("\n{") :])
    # base, and for each of three methods a search trial and a refit
    assert found["trials"] == 7
    assert found["largest_difference"] == 0.0
    assert found["ratio"] > 0
