"""Whether trials can run on a machine of a cluster: looked at there, before the first one is started."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medalign.config.storage import Storage
from medalign.errors import InputError
from medalign.modeling.base_models import fingerprint_folder, resolve_folder


@dataclass(frozen=True, kw_only=True)
class Readiness:
    """What a trial needs where it runs. Called on a node, it returns what is missing there, one line each.

    Attributes:
        model: As a trial will name it.
        fingerprint: Of the base weights and the tokenizer on the driver's machine.
        storage: Address of the place for the files of trials; None if they see the folder itself.
        shared: The folder that the machine must then share with the driver's.
        marker: A file in it, written by the driver.
    """

    model: str
    fingerprint: Mapping[str, str]
    storage: str | None
    shared: str
    marker: str

    def __call__(self) -> Sequence[str]:
        try:
            self._check_place()
            self._check_model()
        except InputError as error:
            return [" ".join(str(error).split())]
        except OSError as error:
            return [f"{error.filename or self.shared}: {error.strerror}"]
        return []

    def _check_place(self) -> None:
        if self.storage is not None:
            Storage(self.storage).check()
            return
        remedy = "name a folder that all machines share with --results, or a place with --storage-path"
        if not (Path(self.shared) / self.marker).is_file():
            raise InputError(
                f"results_folder: {self.shared} is not the driver's folder of that name; {remedy}"
            )
        probe = Path(self.shared) / f".medalign-{secrets.token_hex(8)}"
        try:
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise InputError(
                f"results_folder: {self.shared} cannot be written ({error.strerror}); {remedy}"
            ) from error

    def _check_model(self) -> None:
        found = fingerprint_folder(resolve_folder(self.model))
        different = [name for name, value in self.fingerprint.items() if found.get(name) != value]
        if different:
            raise InputError(
                f"model.name: {self.model} differs there from the driver's ({', '.join(different)}); copy the driver's"
            )


def make_marker(folder: Path) -> str:
    """Writes a file by which other machines tell whether they see this folder, and returns its name."""
    name = f".medalign-driver-{os.getpid()}"
    (folder / name).write_bytes(b"")
    return name
