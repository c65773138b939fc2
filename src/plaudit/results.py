"""What commands write as JSON and print with `--json`; `docs/schemas` is made of these records.

`schema_version` grows when a reader would have to know; files from before it was there lack it.
Figures of an evaluation are described where they are made, in `evaluation.summary`.
"""

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from plaudit.evaluation.agreement import AgreementRecord
from plaudit.evaluation.all_suites import AllSuites
from plaudit.evaluation.bench import ComparedRecord
from plaudit.evaluation.comparison import ComparisonRecord, FoldsRecord
from plaudit.evaluation.components import ComponentsRecord
from plaudit.evaluation.learning_curve import CurveRecord
from plaudit.evaluation.optimisation import UnderPolicyRecord
from plaudit.evaluation.statistics import FigureRecord
from plaudit.evaluation.suite import PartRecord
from plaudit.evaluation.suite_rewards import SuiteOfModels
from plaudit.evaluation.suite_run import SuiteCounts, SuiteRecord
from plaudit.evaluation.summary import Summary

# An evaluation's summary: by the name of a measure its figure, {"value", "low", "high"}, and more.
EvaluationSummary = Summary


class Versioned(TypedDict):
    """What every file begins with."""

    schema_version: NotRequired[int]


class RankingsOfRun(TypedDict):
    """How many rankings a run had of each kind; None for a stream, which is not counted."""

    train: int | None
    validation: int
    test: int


class SourceOfRun(TypedDict):
    """A source of a mixture: its share of an epoch as it was asked for, and what was in it.

    `rankings` are those that could be read; `train` is how many of them an epoch has, more than
    there are where some are gone through several times. Of a stream they are not counted.
    """

    share: float
    rows: int
    rankings: int | None
    train: int | None
    validation: int
    test: int
    rejected: dict[str, int]


class DataOfRun(TypedDict):
    """What a run was trained on."""

    files: list[str]
    format: str
    rankings: RankingsOfRun
    rejected: dict[str, int]
    truncated: dict[str, int]
    mixture: NotRequired[str]  # the setting, where sources have weights
    sources: NotRequired[dict[str, SourceOfRun]]


class ModelOfRun(TypedDict):
    """What a run trained."""

    base: str
    pooling: str
    kind: str


class Frozen(TypedDict):
    """Which layers were frozen, and how often what they give was found in the cache."""

    what: str
    parameters: int
    found: int
    computed: int
    seconds: float
    cache_bytes: int


class Finding(TypedDict):
    """What kept a run from learning: what was seen, the likeliest cause, the setting to change."""

    name: str
    seen: str
    cause: str
    change: str


class Curve(TypedDict):
    """What a nuisance adds to a reward in training, by its level: straight lines between knots.

    `slopes` are in units of reward for one of the level, each from its knot to the next; the first
    also holds below, the last above. See `training.controls` for the levels.
    """

    nuisance: str
    knots: list[float]
    slopes: list[float]


class Control(TypedDict):
    """What took nuisances out of a model's training, and without which it was saved.

    `method` is the setting `control_method`; runs of earlier versions, which lack it, have
    `expert`. `training_accuracy` and `validation_accuracy` are the shares of pairs that an expert's
    curves order rightly alone, the former of the rankings that they were fitted to. A head of the
    nuisances' own has neither curves nor these.
    """

    method: NotRequired[str]
    strength: float
    anneal: float
    weight: str | float
    curves: list[Curve]
    training_accuracy: float | None
    validation_accuracy: float | None


class UncertaintyOfRun(TypedDict):
    """How uncertain the head is, and what that does to the log loss of the validation pairs."""

    kind: str
    prior_precision: float
    validation_log_loss: float
    validation_log_loss_without: float


class SuiteOfRun(TypedDict):
    """A benchmark that was scored at every validation: so many items `of` so many."""

    title: str
    items: int
    of: int
    completions: int


class Training(TypedDict):
    """How a run went, and in a sentence what the rewards of its model mean."""

    steps: int
    best_step: int | None
    device: str
    dtype: str
    rewards: NotRequired[str]  # not in runs of earlier versions
    frozen: NotRequired[Frozen]
    control: NotRequired[Control]
    uncertainty: NotRequired[UncertaintyOfRun]
    suites: NotRequired[dict[str, SuiteOfRun]]
    attributes: NotRequired[dict[str, float]]  # the weight of each in the reward, standardised
    diagnosis: NotRequired[list[Finding]]
    seconds: NotRequired[float]


class RunMetrics(Versioned):
    """`metrics.json` of `plaudit train`."""

    data: DataOfRun
    model: ModelOfRun
    training: Training
    validation: NotRequired[EvaluationSummary]
    test: NotRequired[EvaluationSummary]


class CheckRecord(TypedDict):
    """A check of a set-up: what was seen and, where it did not pass, what to change."""

    name: str
    passed: bool
    seen: str
    change: str


class ExpectedRecord(TypedDict):
    """How long training will take on this machine: seconds from and to, of its steps and of
    validating and measuring; the report is not in it."""

    steps: int
    training_seconds: list[float]
    measuring_seconds: list[float]


class SetUpRecord(Versioned):
    """What `plaudit train --check --json` prints."""

    passed: bool
    checks: list[CheckRecord]
    left_out: list[str]
    expected: ExpectedRecord | None


class OverFolds(TypedDict):
    """A metric over the folds of all repeats: its mean with a 95 % interval."""

    mean: float
    sd: float
    low: float | None
    high: float | None
    folds: list[float]


class Against(TypedDict):
    """A way of training against an earlier one: fold by fold, and on all out-of-fold rewards.

    `settings` are those that differ, of `this` and of the `other`. `p_holm` has the p-values of the
    main measure, by `folds` and by `prompts`, corrected for being several comparisons.
    """

    name: str
    settings: dict[str, Any]
    folds: dict[str, FoldsRecord]
    out_of_fold: ComparisonRecord
    p_holm: NotRequired[dict[str, float]]


class CrossValidationMetrics(Versioned):
    """`metrics.json` of `plaudit cv`; `prompts` are means over the folds.

    `comparisons` are all, where it is held against several; `against` is the first of them.
    """

    k: int
    repeats: int
    settings: dict[str, Any]
    prompts: dict[str, float]
    metrics: dict[str, OverFolds]
    out_of_fold: EvaluationSummary
    learning_curve: CurveRecord | None
    against: Against | None
    comparisons: NotRequired[list[Against]]


class Trial(TypedDict):
    """A trial of a search; `value` is what it reached on the validation prompts.

    `p_behind` is that of its gap to the best one, corrected for choosing among all of them; it is
    that of `evaluation.choice`. `log_loss` is of the same prompts, and decides between trials of
    one value; trials of earlier versions have none. `equals`, of the best one, are those that
    cannot be told from it.
    """

    number: int
    state: str
    value: float | None
    low: float | None
    high: float | None
    seconds: float | None
    settings: dict[str, Any]
    log_loss: NotRequired[float]
    p_behind: NotRequired[float]
    equals: NotRequired[list[int]]


class SearchMetrics(Versioned):
    """`metrics.json` of `plaudit tune`."""

    metric: str
    space: dict[str, Any]
    settings: dict[str, Any]
    trials: list[Trial]
    best: Trial
    test: EvaluationSummary | None


class FrontierPoint(TypedDict):
    """What a run at one strength of the control reaches: figures by measure."""

    strength: float
    run: str
    validation: dict[str, FigureRecord]
    test: dict[str, FigureRecord]


class FrontierMetrics(Versioned):
    """`metrics.json` of `plaudit frontier`; `chosen` is the strength that `rule` takes."""

    settings: dict[str, Any]
    control: list[str]
    points: list[FrontierPoint]
    chosen: float
    rule: str


class VarianceMetrics(Versioned):
    """`metrics.json` of `plaudit variance`: by measure what it varies by."""

    settings: dict[str, Any]
    splits: int
    seeds: int
    metrics: dict[str, ComponentsRecord]


class ComparisonSummary(Versioned):
    """`summary.json` of `plaudit compare`."""

    prompts: int
    completions: int
    mean_reward: float
    mean_reward_of_first: float
    mean_reward_of_best: float
    reward_length_correlation: float | None


class GenerationSummary(Versioned):
    """What `plaudit generate --json` prints; a mean of nothing is null."""

    prompts: int
    prompts_kept: int
    prompts_without_a_row: int
    unreadable_rows: int
    rows: int
    completions: int
    unfinished: int
    unfinished_left_out: int
    blank_left_out: int
    duplicates_left_out: int
    mean_reward: float | None
    mean_reward_of_kept: float | None
    gain: float | None
    mean_margin: float | None
    reward_length_correlation: float | None
    best_is_longest: float | None
    best_is_longest_by_chance: float | None


class SampledReward(TypedDict):
    """A reward model under a policy's samples: its figures, and in sentences what they mean."""

    model: str
    verdict: list[str]
    figures: UnderPolicyRecord


class PolicyTestSummary(Versioned):
    """`summary.json` of `plaudit policy-test`; best-of-n was picked of `n` samples at most."""

    policy: str
    gold: str | None
    prompts: int
    samples: int
    n: int
    models: list[SampledReward]


class Ties(TypedDict):
    """How many rankings have ties, and how many pairs are tied."""

    rankings: int
    pairs: int


class Advice(TypedDict):
    """A finding, and what to do about it; the command that does it, where there is one.

    `mend` tells a fault from what is only worth knowing.
    """

    finding: str
    advice: str
    command: str
    mend: bool


class Verdict(TypedDict):
    """What to do first, in words, and the command for it."""

    text: str
    command: str


class ShownRow(TypedDict):
    """A completion as the model sees it; `cut` holds the texts that truncation took."""

    rank: int | None
    text: str
    tokens: list[str]
    shared: int
    pooled: str
    prompt_cut: int
    completion_cut: int
    cut: list[str]


class ShownRanking(TypedDict):
    """A ranking as the model sees it, or why it does not take it."""

    at: str
    refused: str | None
    completions: list[ShownRow]


class ModelView(TypedDict):
    """What a model sees of all data, and of the first rankings exactly."""

    model: str
    trained: bool
    kind: str
    template: str
    pooling: str
    max_length: int
    reads: int | None
    longest: int
    left_out: dict[str, int]
    counts: dict[str, int]
    shown: list[ShownRanking]


class Annotators(TypedDict):
    """How many the data name, and how far they agree: null where no two judged the same pair."""

    number: int
    agreement: AgreementRecord | None


class InspectionSummary(Versioned):
    """What `plaudit inspect --json` prints; `read_with`: flags that say how to read the data."""

    files: list[str]
    read_with: list[str]
    format: str
    columns: dict[str, str]
    better: str
    unused_columns: list[str]
    notes: dict[str, int]
    rows: int
    rankings: int
    prompts: int
    completions: int
    pairs: int
    completions_per_ranking: dict[str, int]
    ties: Ties
    prompt_characters: dict[str, int]
    completion_characters: dict[str, int]
    longer_is_better: float | None
    length_skew: dict[str, Any] | None
    duplicates: dict[str, int]
    near_duplicates: dict[str, Any]
    shared_prompts: list[dict[str, Any]]
    contradictions: int
    cycles: dict[str, Any]
    annotators: Annotators | None
    truncated: dict[str, Any]
    refused: dict[str, Any]
    prompts_not_adjacent: int
    rejected: dict[str, Any]
    categories: dict[str, int]
    models: dict[str, int]
    mislabelled: NotRequired[dict[str, Any]]
    model_sees: NotRequired[ModelView]
    advice: list[Advice]
    verdict: Verdict


class AloneRecord(TypedDict):
    """What a check of the model alone saw.

    `passed` is null where it only tells; `measured` is in units of reward.
    """

    name: str
    passed: bool | None
    seen: str
    measured: float | None


class CauseRecord(TypedDict):
    """Why rows part, and how many of them that explains."""

    name: str
    says: str
    rows: int


class RowRecord(TypedDict):
    """A row whose reward is another one there, or that is refused there."""

    row: str
    here: float
    there: float | None
    refused: NotRequired[str]


class PeerRecord(TypedDict):
    """How far the rewards of a peer are from ours, and why.

    Of `rows`, those `refused` there and those `cut` here are not compared; of the others `parted`
    are further apart than is tolerated. `largest` and `percentile_99` are in units of reward, in
    which the rewards here have the standard deviation `spread`. Of `pairs` of completions of one
    prompt `turned` are in another order there. `notes` say what to know besides.
    """

    name: str
    passed: bool
    rows: int
    parted: int
    refused: int
    cut: int
    largest: float | None
    percentile_99: float | None
    spread: float
    pairs: int
    turned: int
    notes: list[str]
    causes: list[CauseRecord]
    examples: list[RowRecord]


class VerificationRecord(Versioned):
    """What `plaudit verify` found; `passed` is what its exit code says."""

    model: str
    passed: bool
    rows: int
    tolerance: float
    alone: list[AloneRecord]
    peers: list[PeerRecord]


class MachineRecord(TypedDict):
    """What the seconds of a bench were measured on."""

    processor: str
    threads: int
    accelerator: str | None


class ScoringCost(TypedDict):
    """What it took to score `completions`, each distinct text once, of `tokens` as they are read.

    Seconds are those of tokenising and scoring; loading is not in them. `peak_memory_bytes` are of
    the accelerator's tensors or, on a processor, of the whole process.
    """

    parameters: int | None
    dtype: str
    device: str
    max_length: int
    completions: int
    tokens: int
    seconds: float
    truncated: int
    peak_memory_bytes: int | None


class BenchedModel(TypedDict):
    """A model of a bench; `problem` says why it has no scores, if it has none.

    `refused` are the rows that it does not take, by data.
    """

    problem: str | None
    cost: ScoringCost | None
    refused: dict[str, int]
    notes: list[str]


class BenchedData(TypedDict):
    """A benchmark, or preference data, and what models reach on the rows that all of them take.

    `tied` are the models that are not told from the `best` one.
    """

    kind: Literal["suite", "preferences"]
    title: str
    files: str
    definition: str
    source: str
    counts: SuiteCounts
    complete: bool
    notes: list[str]
    scores: dict[str, PartRecord]
    best: str | None
    tied: list[str]


class MeanOfData(TypedDict):
    """The plain mean over all data, of the models that have a score on each."""

    scores: dict[str, FigureRecord]
    best: str
    tied: list[str]


class BenchRecord(Versioned):
    """`bench.json` of `plaudit bench`; `passed` is whether every model has scores.

    In `comparisons` p-values are adjusted for all of them together.
    """

    passed: bool
    machine: MachineRecord
    models: dict[str, BenchedModel]
    data: dict[str, BenchedData]
    mean: MeanOfData | None
    comparisons: list[ComparedRecord]
    verdict: list[str]


class NumberTypeRecord(TypedDict):
    """What `--dtype auto` is for a model of 135 million parameters; `ratio` is how many times
    faster than in float32 bfloat16 was measured to be, null where it was not measured."""

    auto: str
    ratio: float | None
    says: str


class FolderRecord(TypedDict):
    """A folder that plaudit writes to; one that is not there yet is as its parent is."""

    use: str
    path: str
    free_bytes: int
    writable: bool


class HubRecord(TypedDict):
    """Whether the hub answers; `reached` is null where it was not asked."""

    address: str
    offline: bool
    reached: bool | None
    answer: str
    token: bool


class OptionalRecord(TypedDict):
    """A part that plaudit can do without, and how to get it; `missing` are its packages."""

    name: str
    purpose: str
    missing: list[str]
    install: str


class InstallationRecord(Versioned):
    """What `plaudit doctor` found; `passed` is whether there is nothing to `mend`."""

    passed: bool
    versions: dict[str, str | None]
    processor: str
    flags: list[str]
    cores: int
    usable_cores: int
    threads: int | None
    devices: list[str]
    number_type: NumberTypeRecord | None
    memory_bytes: int | None
    available_bytes: int | None
    folders: list[FolderRecord]
    hub: HubRecord
    optional: list[OptionalRecord]
    mend: list[str]


# The records that have a published schema, by the command that writes them.
SCHEMAS: dict[str, Any] = {
    "inspect": InspectionSummary,
    "train": RunMetrics,
    "check": SetUpRecord,
    "cv": CrossValidationMetrics,
    "tune": SearchMetrics,
    "frontier": FrontierMetrics,
    "variance": VarianceMetrics,
    "bench": BenchRecord,
    "suite": SuiteRecord | SuiteOfModels,
    "suites": AllSuites,
    "compare": ComparisonSummary,
    "generate": GenerationSummary,
    "policy-test": PolicyTestSummary,
    "verify": VerificationRecord,
    "doctor": InstallationRecord,
}
