"""A trial that goes on from a checkpoint ends as one that nobody disturbed, bit for bit."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from medalign.errors import StorageError, TrialStopped
from medalign.methods.catalog import method_named
from medalign.methods.checkpoints import NUM_KEPT, Checkpoints, is_whole, latest_step, seal
from medalign.modeling.metering import Meter
from medalign.records import Cost, Progress, TrialSpec
from tests.methods.examples import make_run, mixed, tiny_base, training_data

QUESTIONS = mixed(24)
# 10 steps. Dropout draws a random number for every weight of every step.
SETTING: dict[str, Any] = {"epochs": 2, "batch_size": 5, "learning_rate": 2e-3, "lora_rank": 4}
SETTING |= {"lora_dropout": 0.2, "warmup_share": 0.2, "weight_decay": 0.01}
SHARES = (0.3, 0.5, 0.8)


class Killed(BaseException):
    """The process dies here."""


class Ended(NamedTuple):
    weights: dict[str, torch.Tensor]
    curve: list[tuple[float, float]]
    shares: list[float]
    cost: Cost


class Trial:
    """One trial on a folder; each `run` is a process of its own as far as the trial can tell."""

    def __init__(
        self, root: Path, model: Path, method: str, *, stages: tuple[int, ...] = (), **changes: Any
    ) -> None:
        self.spec = TrialSpec(
            trial_id=f"{method}-search-000", method=method, stage="search", setting=SETTING | changes, seed=11
        )
        self.root = root
        self.folder = root / "checkpoints" / self.spec.trial_id
        self.reports: list[float] = []
        self._model = model
        self._data = dataclasses.replace(training_data(QUESTIONS), stages=stages)

    def run(self, *, dies_at: float | None = None, every_seconds: float = 3600.0) -> Ended:
        history: list[Progress] = []
        curve: list[tuple[float, float]] = []
        meter = Meter()
        kept = Checkpoints(
            self.root,
            self.spec,
            every_seconds=every_seconds,
            history=history,
            learning_curve=curve,
            meter=meter,
            report=self.report,
        )

        def checkpoint(share: float, predictor: Any) -> None:
            if dies_at is not None and share >= dies_at:
                raise Killed
            history.append(Progress(budget_share=share, score=0.5, cost=meter.cost()))
            self.report(history[-1])

        shared: dict[str, Any] = {"seed": self.spec.seed, "meter": meter, "learning_curve": curve}
        shared["data"] = self._data
        shared |= {"checkpoint": checkpoint, "checkpoints": SHARES, "kept": kept}
        base = tiny_base(self._model)
        run = make_run(base, QUESTIONS, self.spec.setting, **shared)
        torch.manual_seed(random.randrange(2**31))  # what the process drew before must not matter
        with method_named(self.spec.method).adapted(run):
            weights = {n: t.clone() for n, t in base.model.state_dict().items() if "lora_" in n}
        return Ended(weights, curve, [progress.budget_share for progress in history], meter.cost())

    def report(self, progress: Progress) -> None:
        self.reports.append(progress.budget_share)

    @property
    def steps(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


@pytest.fixture
def trial(tmp_path: Path, llama_folder: Path) -> Callable[..., Trial]:
    return lambda method, name="disturbed", **changes: Trial(tmp_path / name, llama_folder, method, **changes)


@pytest.fixture(scope="module")
def undisturbed_run(tmp_path_factory: pytest.TempPathFactory, llama_folder: Path) -> Callable[[str], Ended]:
    """How a trial of a method ends that nobody disturbs."""
    return functools.cache(
        lambda method: Trial(tmp_path_factory.mktemp("undisturbed"), llama_folder, method).run()
    )


def equal(a: Ended, b: Ended) -> bool:
    assert sorted(a.weights) == sorted(b.weights) and a.weights
    return all(torch.equal(a.weights[name], b.weights[name]) for name in a.weights) and a.curve == b.curve


@pytest.mark.parametrize("method", ["sft", "dpo"])
@pytest.mark.parametrize("dies_at", [0.5, 0.8, 1.0])
def test_a_trial_that_goes_on_ends_with_the_weights_of_one_that_nobody_disturbed(
    trial: Callable[..., Trial], undisturbed_run: Callable[[str], Ended], method: str, dies_at: float
) -> None:
    """Deaths within the first epoch, within the second, and when training has ended; 0.5 is where one begins."""
    undisturbed = undisturbed_run(method)
    disturbed = trial(method)
    with pytest.raises(Killed):
        disturbed.run(dies_at=dies_at)
    ended = disturbed.run()
    assert equal(ended, undisturbed)
    assert ended.shares == undisturbed.shares == [*SHARES, 1.0]
    # Trained again is what came after the last report before the death, no more.
    again = [share for share in SHARES if share < dies_at]
    assert disturbed.reports == [*again, *again, *(share for share in (*SHARES, 1.0) if share >= dies_at)]
    assert ended.cost.tokens_trained == undisturbed.cost.tokens_trained


@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_a_trial_in_stages_goes_on_where_it_was(trial: Callable[..., Trial], method: str) -> None:
    """Once within the first of two epochs, once within the second."""
    undisturbed = trial(method, "undisturbed", stages=(7, 17)).run()
    disturbed = trial(method, stages=(7, 17))
    for dies_at in (0.5, 1.0):
        with pytest.raises(Killed):
            disturbed.run(dies_at=dies_at)
    assert equal(disturbed.run(), undisturbed)
    assert not equal(trial(method, "other", stages=(17, 7)).run(), undisturbed)


def test_a_trial_that_dies_again_and_again_ends_the_same(
    trial: Callable[..., Trial], undisturbed_run: Callable[[str], Ended]
) -> None:
    undisturbed = undisturbed_run("sft")
    disturbed = trial("sft")
    for dies_at in SHARES:
        with pytest.raises(Killed):
            disturbed.run(dies_at=dies_at, every_seconds=0.0)
    assert equal(disturbed.run(), undisturbed)


def test_with_another_random_state_the_weights_would_differ(
    trial: Callable[..., Trial], undisturbed_run: Callable[[str], Ended]
) -> None:
    """So the tests above can fail."""
    undisturbed = undisturbed_run("sft")
    disturbed = trial("sft")
    with pytest.raises(Killed):
        disturbed.run(dies_at=0.8)
    newest = disturbed.folder / "step-00000005"
    state = torch.load(newest / "rng_state.pth", weights_only=False)
    torch.save(state | {"cpu": torch.Generator().manual_seed(5).get_state()}, newest / "rng_state.pth")
    seal(newest)
    assert not equal(disturbed.run(), undisturbed)


def damage_bytes(folder: Path) -> None:
    file = folder / "optimizer.pt"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(bytes(content))


def cut_short(folder: Path) -> None:
    os.truncate(folder / "adapter_model.safetensors", 100)


def lose_the_manifest(folder: Path) -> None:
    (folder / "MANIFEST.json").unlink()


@pytest.mark.parametrize("spoil", [damage_bytes, cut_short, lose_the_manifest])
def test_a_corrupt_newest_checkpoint_falls_back_to_the_one_before(
    trial: Callable[..., Trial], undisturbed_run: Callable[[str], Ended], spoil: Callable[[Path], None]
) -> None:
    undisturbed = undisturbed_run("sft")
    disturbed = trial("sft")
    with pytest.raises(Killed):
        disturbed.run(dies_at=0.8)
    assert disturbed.steps == ["step-00000003", "step-00000005"]
    spoil(disturbed.folder / "step-00000005")
    disturbed.reports.clear()
    assert equal(disturbed.run(), undisturbed)
    assert disturbed.reports == [0.3, 0.5, 0.8, 1.0]


def test_if_all_are_corrupt_the_trial_starts_anew(
    trial: Callable[..., Trial], undisturbed_run: Callable[[str], Ended]
) -> None:
    undisturbed = undisturbed_run("sft")
    disturbed = trial("sft")
    with pytest.raises(Killed):
        disturbed.run(dies_at=0.8)
    for folder in disturbed.folder.iterdir():
        cut_short(folder)
    assert equal(disturbed.run(), undisturbed)


def test_no_more_than_two_are_kept_and_nothing_unfinished_stays(trial: Callable[..., Trial]) -> None:
    disturbed = trial("sft")
    disturbed.run(every_seconds=0.0)
    assert len(disturbed.steps) == NUM_KEPT
    assert all(is_whole(disturbed.folder / name) for name in disturbed.steps)
    assert latest_step(disturbed.root, disturbed.spec.trial_id) == 10


def test_what_a_killed_process_was_writing_is_no_checkpoint(trial: Callable[..., Trial]) -> None:
    disturbed = trial("sft")
    with pytest.raises(Killed):
        disturbed.run(dies_at=0.5)
    half = disturbed.folder / ".unfinished-half" / "checkpoint-9"
    shutil.copytree(disturbed.folder / "step-00000003", half)
    (half / "MANIFEST.json").unlink()
    disturbed.run()
    assert latest_step(disturbed.root, "sft-search-000") == 8
    assert disturbed.steps == ["step-00000005", "step-00000008"]


def test_a_checkpoint_of_another_setting_is_not_gone_on_from(
    trial: Callable[..., Trial], llama_folder: Path
) -> None:
    first = trial("sft")
    with pytest.raises(Killed):
        first.run(dies_at=0.5)
    other = Trial(first.root, llama_folder, "sft", learning_rate=1e-3)
    other.run()
    assert other.reports == [0.3, 0.5, 0.8, 1.0]


def test_a_report_that_is_told_again_cannot_stop_the_trial(trial: Callable[..., Trial]) -> None:
    disturbed = trial("sft")
    with pytest.raises(Killed):
        disturbed.run(dies_at=0.5)
    told = iter([TrialStopped("today it would be stopped")])

    def stop_once(progress: Progress) -> None:
        if error := next(told, None):
            raise error

    disturbed.report = stop_once  # type: ignore[method-assign]
    assert disturbed.run().shares == [*SHARES, 1.0]


def test_a_slow_disk_makes_them_rarer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("medalign.methods.checkpoints.time.monotonic", lambda: now[0])
    spec = TrialSpec(trial_id="sft-search-000", method="sft", stage="search")
    kept = Checkpoints(
        tmp_path,
        spec,
        every_seconds=60.0,
        history=[],
        learning_curve=[],
        meter=Meter(),
        report=lambda progress: None,
    )
    assert not kept.is_due()
    now[0] += 60
    assert kept.is_due()
    with kept.scratch() as scratch:
        folder = Path(scratch) / "checkpoint-1"
        folder.mkdir()
        kept.keep(folder, 1, begun=now[0] - 4.0)
    now[0] += 199
    assert not kept.is_due()
    now[0] += 1
    assert kept.is_due()


def test_cost_goes_on_from_that_of_the_checkpoint() -> None:
    meter = Meter()
    meter.go_on_from(Cost(wall_seconds=100.0, train_seconds=60.0, tokens_trained=500, peak_gib=1e6))
    meter.tokens_trained += 7
    cost = meter.cost()
    assert cost.tokens_trained == 507
    assert cost.peak_gib == 1e6
    assert 100.0 < cost.wall_seconds < 160.0


def test_time_spent_in_training_counts_before_it_has_ended() -> None:
    meter = Meter()
    with meter.during("train"):
        with meter.during("score"):
            pass
        within = meter.cost()
    after = meter.cost()
    assert 0 < within.train_seconds <= after.train_seconds
    assert within.score_seconds == after.score_seconds > 0


def test_a_full_disk_is_one_line_that_names_the_folder(
    trial: Callable[..., Trial], tmp_path: Path, small_disk: Path
) -> None:
    disturbed = trial("sft")
    disturbed.root = small_disk
    with pytest.raises(StorageError, match=r"^\S*checkpoints/sft-search-000: the disk is full; .*--resume$"):
        disturbed.run(every_seconds=0.0)
    assert all(is_whole(path) for path in (small_disk / "checkpoints" / "sft-search-000").iterdir())


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """A file system of 256 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if made.returncode:
        pytest.skip(f"no small disk can be mounted here: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_reports_come_back_as_they_were(tmp_path: Path) -> None:
    from medalign.records import progress_from_json

    progress = Progress(budget_share=0.5, score=0.25, metrics={"loss": 1.5}, cost=Cost(train_seconds=2.0))
    assert progress_from_json(json.loads(json.dumps(dataclasses.asdict(progress)))) == progress
