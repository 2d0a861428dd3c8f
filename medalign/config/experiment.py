"""The experiment file: all that decides one comparison, as frozen settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, field_validator, model_validator
from pydantic_core import PydanticCustomError

from medalign.config.loading import Fault, Settings, check, dump_yaml, faults_error, load_yaml, nearest
from medalign.config.locations import find_file, known_names, shown
from medalign.errors import ConfigError
from medalign.records import BASE

DEFAULT_EXPERIMENT = "embedded_smollm2-135m_cpu"

AUTO = "auto"
Precision = Literal["auto", "bf16", "fp16", "fp32", "nf4", "int8"]
Scoring = Literal["raw", "normalised"]
Count = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(min_length=1)]


def _check_size(value: Any) -> Any:
    if value == "all" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    is_number = isinstance(value, int) and not isinstance(value, bool)
    raise PydanticCustomError("size", "must be at least 1" if is_number else "must be a whole number")


Size = Annotated[int | Literal["all"], PlainValidator(_check_size)]


def _check_holdout(value: Any) -> Any:
    return value if value in (None, AUTO) else _check_count(value)


def _check_count(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    raise PydanticCustomError("count", "must be a whole number of at least 1, or auto")


Holdout = Annotated[int | Literal["auto"] | None, PlainValidator(_check_holdout)]


class ModelSettings(Settings):
    """The base model.

    Attributes:
        name: An embedded model, a Hub id or a local folder.
        precision: Of the base weights; `auto` is bf16 where the machine computes in it, else fp32.
    """

    name: Name = "smollm2-135m"
    precision: Precision = "auto"


class Shares(Settings):
    """Share of each split among the groups of questions that can go anywhere; what is left to 1 is the pool."""

    train: Annotated[float, Field(ge=0, le=1)] = 0.7
    validation: Annotated[float, Field(ge=0, le=1)] = 0.1
    test: Annotated[float, Field(ge=0, le=1)] = 0.2

    @model_validator(mode="after")
    def _check_sum(self) -> Shares:
        total = self.train + self.validation + self.test
        if total > 1 + 1e-9:
            raise PydanticCustomError("sum", f"train, validation and test make {total:g}; at most 1 will do")
        return self


class Replay(Settings):
    """General text among the training questions, so that little of what the model could do is forgotten.

    Attributes:
        source: `name` or `name:location`.
        share: Of all training questions, copies aside.
    """

    source: Name
    share: Annotated[float, Field(gt=0, lt=1)]


class Augment(Settings):
    """Copies of every training question.

    Attributes:
        option_shuffles: With options in another order.
        paraphrases: With other words around the question.
    """

    option_shuffles: Annotated[int, Field(ge=0, le=5)] = 0
    paraphrases: Annotated[int, Field(ge=0, le=3)] = 0


class DataSettings(Settings):
    """The questions.

    Attributes:
        sources: `name` or `name:location`; several are mixed. A relative location is taken from the
            working directory.
        prepared: Folder that `medalign prepare` wrote; its splits are used as they are, in place of all else here.
        train_size: Questions, or `all` of the share.
        shares: Ranges of the splits; None makes them in proportion to the sizes.
        holdout_per_specialty: The test split is so many questions of each specialty, in place of `test_size`; `auto`
            is 10 where there are specialties enough. So it is if shares are given and neither of the two.
        holdout_file: Names the test questions; written the first time, from then on they stay the same.
        weights: For a source how often it takes its turn; 1 by default.
        stages: A curriculum: the sources of each stage, or `source/specialty`.
        leaks: Whether a training question that nearly repeats a test or validation question is left out and
            counted (`drop`) or nothing is prepared (`refuse`).
        sampled_answers: How many answers the base model itself writes to a training question whose pair would
            otherwise reject the answer to another question; the wrong one closest in length is rejected. 0 writes none.
        sampling_temperature: At which it writes them.
        max_prompt_tokens: Longer questions are left out, for all methods alike; None keeps what fits the model.
    """

    sources: tuple[Name, ...] = Field(default=("embedded",), strict=False)
    prepared: Name | None = None
    train_size: Size = 100
    validation_size: Size = 60
    test_size: Size = 150
    shares: Shares | None = None
    holdout_per_specialty: Holdout = None
    holdout_file: Name | None = None
    weights: Mapping[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    stages: tuple[Annotated[tuple[Name, ...], Field(strict=False, min_length=1)], ...] = Field(
        default=(), strict=False
    )
    replay: Replay | None = None
    augment: Augment = Field(default_factory=Augment)
    leaks: Literal["drop", "refuse"] = "drop"
    sampled_answers: Annotated[int, Field(ge=0, le=32)] = 4
    sampling_temperature: Annotated[float, Field(gt=0, le=2)] = 0.7
    max_prompt_tokens: Count | None = None

    @model_validator(mode="before")
    @classmethod
    def _hold_out_of_shares(cls, raw: Any) -> Any:
        """Noted as a setting of its own, so that a file that is written with all its settings means the same."""
        if not isinstance(raw, Mapping) or raw.get("shares") is None:
            return raw
        named = {"test_size", "holdout_per_specialty"} & set(raw)
        return raw if named else {**raw, "holdout_per_specialty": AUTO}

    @model_validator(mode="after")
    def _check_together(self) -> DataSettings:
        faults = []
        for name in ("train_size", "validation_size", "test_size"):
            if getattr(self, name) == "all" and self.shares is None:
                faults.append((name, "'all'; give shares too, or write a number"))
        names = {source.partition(":")[0] for source in self.sources}
        for name in self.weights:
            if name not in names:
                faults.append((f"weights.{name}", f"is not among the sources; {nearest(name, names)}"))
        if faults:
            raise faults_error(faults)
        return self

    @field_validator("sources")
    @classmethod
    def _check_sources(cls, sources: tuple[str, ...]) -> tuple[str, ...]:
        faults = _list_faults(sources, example="embedded")
        for position, source in enumerate(sources):
            name, colon, location = source.partition(":")
            if not name or (colon and not location):
                faults.append((f"[{position}]", f"'{source}'; write name or name:location"))
        if faults:
            raise faults_error(faults)
        return sources


class PriceSettings(Settings):
    """What machine time costs; without a rate the ledger holds seconds, operations and energy alone.

    Attributes:
        device_hour: Of a whole GPU for an hour; a trial pays for the share of it that its slot is.
        core_hour: Of one busy CPU core for an hour.
        currency: As it is to be written in the report.
    """

    device_hour: Annotated[float, Field(ge=0)] | None = None
    core_hour: Annotated[float, Field(ge=0)] | None = None
    currency: Name = "USD"


class Experiment(Settings):
    """One comparison.

    Attributes:
        name: Names the tracker's experiment and the folder of results.
        methods: What is compared with the base, which always takes part.
        trials: Settings tried for each method.
        seeds: Times that each method's best setting is trained for the final comparison.
        seed: Seeds everything random.
        scoring: Picks an option by its log-probability, `raw` or `normalised` by its length in characters.
        equivalence_margin: Largest difference in accuracy, a fraction, that does not matter: arms that are shown to
            differ by less are called equivalent.
        early_stopping: Whether weak trials are ended early, within each method.
        grace_share: Share of its budget that every trial may use before it can be stopped, in (0, 1].
        reduction_factor: One of so many trials goes on at each check.
        price: Of machine time, for the cost ledger; it decides nothing.
        pruner: How weak trials are told: `asha` by their rank among those of their method, `wilcoxon` by a paired test
            over the validation questions against the best of them.
        budget_gpu_hours: Hours of slots (one 24 GB card each, by default) that all methods together may use, shared
            equally among them; None sets no limit.
        warm_start: Folder, or id in the results folder, of an earlier comparison whose searches are learnt from.
        deterministic: Whether the trials are to depend on seeds and scores alone, and not on what runs side by side.
        slot_gib: Device memory of a slot.
        slot_cores: CPU cores of a slot; None leaves it to the machine's default.
        slots_per_trial: Slots of one device that one trial takes.
        max_slots: At most so many trials at once; None uses every slot.
        overlap: Whether trials that share a GPU of this machine compute side by side there instead of in turns.
        search_spaces: For a method the file of its search space; by default `search_spaces/METHOD.yaml`.
        results_folder: A folder for each comparison is made in it.
        tracking_uri: Of the MLflow store; None is MLFLOW_TRACKING_URI, else `mlruns/mlflow.db` here.
        ray_address: Of a running cluster; None starts Ray on this machine.
        checkpoint_seconds: A trial that trains keeps a checkpoint after every report and, between two, after so many
            seconds; a slow disk makes them rarer, so that they take about 2 % of the time at most.
        silence_seconds: A trial whose process gives no sign of life for so long goes on in another one.
        storage_path: Where trials on other machines leave their files: a folder that all share, or an object store
            (`s3://BUCKET/PREFIX`); None is the results folder, which then must be shared.
    """

    name: Annotated[str, Field(pattern=r"^[\w][\w.+-]*$", max_length=120)]
    model: ModelSettings = Field(default_factory=ModelSettings)
    data: DataSettings = Field(default_factory=DataSettings)
    methods: tuple[Name, ...] = Field(default=("sft", "icl", "dpo"), strict=False)
    trials: Count = 2
    seeds: Count = 2
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    scoring: Scoring = "normalised"
    equivalence_margin: Annotated[float, Field(gt=0, lt=1)] = 0.02
    early_stopping: bool = True
    grace_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    reduction_factor: Annotated[int, Field(ge=2)] = 2
    price: PriceSettings = Field(default_factory=PriceSettings)
    pruner: Literal["asha", "wilcoxon"] = "asha"
    budget_gpu_hours: Annotated[float, Field(gt=0)] | None = None
    warm_start: Name | None = None
    deterministic: bool = False
    slot_gib: Annotated[float, Field(gt=0)] = 24.0
    slot_cores: Count | None = None
    slots_per_trial: Annotated[int, Field(ge=1, le=8)] = 1
    max_slots: Count | None = None
    overlap: bool = False
    search_spaces: Mapping[str, Name] = Field(default_factory=dict)
    results_folder: Name = "results"
    tracking_uri: Name | None = None
    ray_address: Name | None = None
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 60.0
    silence_seconds: Annotated[float, Field(gt=0)] = 180.0
    storage_path: Name | None = None

    @field_validator("methods")
    @classmethod
    def _check_methods(cls, methods: tuple[str, ...]) -> tuple[str, ...]:
        if faults := _list_faults(methods, example=", ".join(searchable_methods())):
            raise faults_error(faults)
        return methods

    @model_validator(mode="after")
    def _check_deterministic(self) -> Experiment:
        if self.deterministic and self.budget_gpu_hours is not None:
            fault = "true with budget_gpu_hours, which ends a search by the clock; give one of the two"
            raise faults_error([("deterministic", fault)])
        return self

    def search_space_path(self, method: str) -> Path:
        """The file of the method's search space.

        Raises:
            ConfigError: There is no such file.
        """
        named = self.search_spaces.get(method)
        path = Path(named) if named else find_file("search_spaces", method)
        if path is not None and path.is_file():
            return path
        held = f"'{named}' is not a file" if named else f"no search_spaces/{method}.yaml is found"
        raise ConfigError(f"search_spaces.{method}: {held}; name the file with --search-space {method}=FILE")

    def to_yaml(self) -> str:
        """Every setting, defaults included, as an experiment file."""
        return dump_yaml(self.model_dump(mode="json"))


def searchable_methods() -> tuple[str, ...]:
    """Methods that have a search space on the search path: those that can be named in a comparison."""
    return known_names("search_spaces")


def load_experiment(
    path: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    option_names: Mapping[str, str] | None = None,
) -> Experiment:
    """The experiment in a file, with overrides that win over it.

    Args:
        path: A file, or the name of one in `experiments/`; None is the default experiment, which takes the name
            of its model and data when these are overridden.
        overrides: Values by dotted path, e.g. `{"data.train_size": 50}`.
        option_names: How the faults of an override call it, e.g. `{"data.train_size": "--train-size"}`.

    Raises:
        ConfigError: With one line for every fault found.
    """
    overrides = dict(overrides or {})
    file = _experiment_file(path)
    raw = load_yaml(file)
    if isinstance(raw, Mapping):
        raw = _merged(raw, overrides)
        if path is None and "name" not in overrides and {"model.name", "data.sources"} & set(overrides):
            raw["name"] = _suggested_name(raw)
    experiment, faults = check(Experiment, raw)
    faults += tuple(_method_faults(raw))
    if experiment is None or faults:
        names = {dotted: (option_names or {}).get(dotted, dotted) for dotted in overrides}
        raise ConfigError(*(_line(fault, shown(file), names) for fault in faults))
    return experiment


def _experiment_file(path: str | Path | None) -> Path:
    named = str(path or DEFAULT_EXPERIMENT)
    file = Path(named) if Path(named).is_file() else find_file("experiments", named)
    if file is None:
        remedy = nearest(named, known_names("experiments"))
        raise ConfigError(f"experiment: '{named}' is not a file and not in experiments/; {remedy}")
    return file


def _merged(raw: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(raw)
    for dotted, value in overrides.items():
        *sections, key = dotted.split(".")
        target = merged
        for section in sections:
            # A section that holds no mapping is a fault of the file, shown as such once it is checked.
            held = target.get(section)
            if not isinstance(held, Mapping) and held is not None:
                break
            target[section] = dict(held or {})
            target = target[section]
        else:
            target[key] = value
    return merged


def _suggested_name(raw: Mapping[str, Any]) -> str:
    def words(section: str, key: str, default: Any) -> Any:
        held = raw.get(section)
        return held.get(key, default) if isinstance(held, Mapping) else default

    sources = words("data", "sources", ("embedded",))
    model = words("model", "name", "smollm2-135m")
    data_words = "+".join(str(source).partition(":")[0] for source in sources) or "data"
    model_words = Path(str(model)).name.lower() or "model"
    slug = "".join(
        letter if letter.isalnum() or letter in "_.+-" else "-" for letter in f"{data_words}_{model_words}"
    )
    return slug[:120]


def _method_faults(raw: Any) -> Iterator[Fault]:
    """A method is known by its search space, so that a new one needs no further list of names here."""
    if not isinstance(raw, Mapping):
        return
    named = raw.get("search_spaces")
    spaces = {name: str(file) for name, file in named.items()} if isinstance(named, Mapping) else {}
    methods = raw.get("methods")
    valid = {*searchable_methods(), *spaces}
    for position, method in enumerate(methods if isinstance(methods, list | tuple) else ()):
        if method == BASE:
            yield Fault(f"methods[{position}]", f"'{BASE}'; the base always takes part: leave it out")
        elif isinstance(method, str) and method and method not in valid:
            yield Fault(f"methods[{position}]", f"'{method}' is not known; {nearest(method, valid)}")
    for name, file in spaces.items():
        if not Path(file).is_file():
            yield Fault(f"search_spaces.{name}", f"'{file}' is not a file; check the path")


def _line(fault: Fault, where: str, names: Mapping[str, str]) -> str:
    for dotted, name in names.items():
        if fault.path == dotted or fault.path.startswith((f"{dotted}[", f"{dotted}.")):
            return Fault("", fault.text).line(name)
    return fault.line(where)


def _list_faults(values: tuple[str, ...], *, example: str) -> list[tuple[str, str]]:
    if not values:
        return [("", f"empty; name at least one, as in [{example}]")]
    again = [index for index, value in enumerate(values) if value in values[:index]]
    return [(f"[{index}]", f"'{values[index]}' is given twice; drop one") for index in again]
