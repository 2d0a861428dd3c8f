"""The disk of the results fills up while trials run: one line, and what was finished can be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from medalign.config.experiment import Experiment
from medalign.errors import StorageError
from medalign.records import TrialResult
from medalign.scheduling.planning import Plan
from medalign.scheduling.ray_tune import run_ray
from medalign.scheduling.slots import Slots
from medalign.tracking.folder import ComparisonFolder
from tests.faults.injector import SmallDisk
from tests.markers import NotHereError, cluster
from tests.scheduling import fakes


class Saver(fakes.Diary):
    """Keeps results as a comparison does; a disk that it is given is full from the third trial on."""

    def __init__(self, folder: ComparisonFolder, disk: SmallDisk | None = None) -> None:
        super().__init__()
        self._folder = folder
        self._disk = disk

    def trial_finished(self, result: TrialResult) -> None:
        super().trial_finished(result)
        if self._disk is not None and len(self.results) == 3:
            self._disk.fill()
        self._folder.write_result(result)


@cluster
def test_a_full_disk_ends_the_trials_with_one_line_and_they_go_on_when_there_is_room(tmp_path: Path) -> None:
    try:
        mounted = SmallDisk.mounted(tmp_path / "small", mib=4)
        disk = mounted.__enter__()
    except NotHereError as error:
        pytest.skip(str(error))
    try:
        experiment = Experiment(name="full", results_folder=str(disk.folder))
        folder = ComparisonFolder.create(experiment, "")
        saver = Saver(folder, disk)
        methods = [fakes.searched("sft", 5)]
        with pytest.raises(StorageError, match=r"^\S+: the disk is full; .* --resume$"):
            run_ray(
                Plan(methods, folder.path), fakes.make_hill_climber, [saver], Slots(), storage=folder.path
            )
        kept = folder.results()
        assert [result.spec.trial_id for result in kept] == ["sft-search-000", "sft-search-001"]
        disk.empty()
        plan = Plan(methods, folder.path, finished=folder.results())
        run_ray(
            plan,
            fakes.make_hill_climber,
            [Saver(folder)],
            Slots(),
            storage=folder.path,
        )
        assert plan.is_finished
        assert len(folder.results()) == 6
    finally:
        mounted.__exit__(None, None, None)
