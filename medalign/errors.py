"""The errors that medalign raises on purpose.

MedalignError
|-- InputError            what the user gave cannot be used: one clear line, exit code 2
|   |-- ConfigError       an experiment file, a search space or an option; carries every fault found
|   |-- DataError         a source, a file or a question that cannot be read, or too few questions
|   |-- ModelError        a base model that cannot be found, fetched or loaded
|   |-- StorageError      a folder or store that cannot be written or continued
|   `-- ClusterError      a Ray cluster that cannot be reached or whose nodes cannot run the trials
|-- ContractError         arms that do not share data, base, prompt or scoring must not be compared
`-- TrialStopped          control flow: the scheduler asked a running trial to end early

An expected failure of one trial (out of memory, diverged loss) is not an exception but a
`records.TrialResult` with status "failed", a reason and a remedy.

All arguments go to `super().__init__`, so that every error survives pickling between processes.
"""

from __future__ import annotations


class MedalignError(Exception):
    """Base of every error that medalign raises on purpose."""


class InputError(MedalignError):
    """The user's input cannot be used; the message names the field, the value and what would do."""


class ConfigError(InputError):
    """One or several faults in an experiment file, a search space or the command line.

    Args:
        faults: One line each, `path.in.file: what it held; what would do`.
    """

    def __init__(self, *faults: str) -> None:
        super().__init__(*faults)
        self.faults = faults

    def __str__(self) -> str:
        return "\n".join(self.faults)


class DataError(InputError):
    """A source, a file or a question cannot be used."""


class ModelError(InputError):
    """A base model cannot be found, fetched or loaded."""


class StorageError(InputError):
    """A folder or store cannot be written, read or continued."""


class ClusterError(InputError):
    """A Ray cluster cannot be reached, or its nodes cannot run the trials."""


class ContractError(MedalignError):
    """Two arms do not share what a fair comparison needs them to share."""


class TrialStopped(MedalignError):
    """Raised inside a trial by its `report` callback when the scheduler ends it early."""
