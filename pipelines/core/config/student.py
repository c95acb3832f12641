"""The student: what it starts from, what it learns of a conversation, and the rounds in which it answers itself."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from pipelines.core.config.base import Sampling, Strict
from pipelines.core.config.probing import Probe
from pipelines.core.config.teachers import Engine, Pool
from pipelines.core.config.training import Loss, Train


class Refit(Strict):
    """Least squares after pruning: each layer left above a gap takes over what it can of the layers that are gone."""

    rows: int = Field(256, ge=1, description="training examples to fit on")
    ridge: float = Field(1.0, gt=0, description="pull towards the layer as it was; 0.1 overfits a few hundred rows")


class PrunedStudent(Strict):
    """The teacher with layers removed one by one, each time the one whose loss hurts least; or with those you name."""

    kind: Literal["pruned"]
    teacher: str
    layers: int | None = Field(None, ge=1, description="how many are left")
    remove: tuple[Annotated[int, Field(ge=0)], ...] | None = Field(
        None, min_length=1, description="which go, counted from 0, in place of a search"
    )
    calibration_rows: int = Field(16, ge=1)
    calibration_tokens: int = Field(64, ge=8, description="tokens of each row that are measured")

    @model_validator(mode="after")
    def _one_choice(self) -> Self:
        if (self.layers is None) == (self.remove is None):
            raise ValueError("say how many layers are left (`layers`) or which go (`remove`), one of the two")
        if self.remove and len(set(self.remove)) < len(self.remove):
            raise ValueError("remove names a layer twice")
        return self

    def layers_left(self, of: int) -> int:
        """How many of the teacher's layers are left."""
        return self.layers if self.layers is not None else of - len(self.remove or ())

    def sizes(self, teacher: Mapping[str, Any]) -> dict[str, int]:
        """What it changes in the teacher's config.json."""
        return {"num_hidden_layers": self.layers_left(teacher["num_hidden_layers"])}


class RandomStudent(Strict):
    """Random weights, drawn by the recipe's seed: a model of the teacher's family and tokens, in sizes of your own."""

    kind: Literal["random"]
    teacher: str
    layers: int = Field(ge=1)
    width: int = Field(ge=8, description="of hidden states; a multiple of heads")
    heads: int = Field(ge=1)
    key_heads: int | None = Field(None, ge=1, description="as many as heads without it")
    inner: int | None = Field(None, ge=8, description="width of the feed-forward layers; 4 times the width without it")

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.width % (2 * self.heads):
            raise ValueError(f"width ({self.width}) must be an even multiple of heads ({self.heads})")
        if self.heads % (self.key_heads or self.heads):
            raise ValueError(f"heads ({self.heads}) must be a multiple of key_heads ({self.key_heads})")
        return self

    def sizes(self, teacher: Mapping[str, Any]) -> dict[str, int]:
        """What it changes in the teacher's config.json."""
        return {
            "num_hidden_layers": self.layers, "hidden_size": self.width, "num_attention_heads": self.heads,
            "num_key_value_heads": self.key_heads or self.heads, "intermediate_size": self.inner or 4 * self.width,
            "head_dim": self.width // self.heads,
        }  # fmt: skip


class GivenStudent(Strict):
    """A model of your own; to learn a teacher's distributions it must have the teacher's tokens."""

    kind: Literal["model"]
    model: str


Method = Literal["sft", "im", "im-released"]
Template = Literal["chat", "alpaca", "tulu", "inst", "bare"]


class Learn(Strict):
    """Which of a conversation's tokens carry loss, and how it is rendered.

    `sft`: the assistant's words and the token that ends them. `im` (instruction modelling, arXiv 2405.14394): every
    content too, never the template. `im-released`: as that paper's released code has it, which masks the first marker
    only. `prompt_weight` is the weight of what others than the assistant say: 0 under `sft`, 1 under `im`.
    """

    method: Method = "sft"
    prompt_weight: float | None = Field(None, ge=0, le=1)
    template: Template = Field("chat", description="the model's own, or a plain one")
    too_long: Literal["drop", "cut"] = Field(
        "drop", description="an example above max_length: dropped, or cut to whole turns or without its end token"
    )


class OwnTrain(Train):
    """Training on a student's own answers: only what a teacher says of them can be learnt."""

    losses: dict[Loss, float] = Field(default={"kd": 1.0}, description="as in student.train, without 'answer'")

    @model_validator(mode="after")
    def _teacher_judges(self) -> Self:
        if self.has("answer"):
            raise ValueError(
                "losses: 'answer' would have the student learn its own words by heart, and they are no gold; drop it "
                "and take 'kd', by which a teacher judges each of them"
            )
        if not self.has("kd"):
            raise ValueError("losses: 'kd' must be there, as a student's own answers teach nothing without a teacher")
        return self


class OnPolicy(Strict):
    """Rounds after training in which the student answers tasks, and learns its teacher's distributions at each token of
    its own answers (GKD, arXiv 2306.13649).

    Each round goes on from the student that the one before left; its optimizer starts anew.
    """

    rounds: int = Field(1, ge=1, le=64)
    tasks: int = Field(
        64,
        ge=1,
        description="answered per round, drawn by the recipe's seed; other ones each round while there are others",
    )
    sampling: Sampling = Sampling(temperature=1.0, max_tokens=128)
    pool: Pool = Field(Pool(), description="of the actors that hold the student where it answers thousands of tasks")
    train: OwnTrain = OwnTrain()


class Student(Strict):
    init: Annotated[PrunedStudent | GivenStudent | RandomStudent, Field(discriminator="kind")]
    learn: Learn = Learn()
    signals: str | dict[str, str] | None = Field(
        None, description="the teacher that 'kd' and 'attention' learn from; or, for each source of data, which"
    )
    refit: Refit | None = None
    engine: Engine = Engine()
    train: Train = Train()
    on_policy: OnPolicy | None = None
    probe: Probe | None = Field(None, description="the student is asked which rows would help it; needs train.warm")

    @property
    def trainings(self) -> dict[str, Train]:
        """How it is trained, in this order, by the recipe's key."""
        rounds = {} if self.on_policy is None else {"student.on_policy.train": self.on_policy.train}
        return {"student.train": self.train, **rounds}

    @model_validator(mode="after")
    def _moments_to_probe(self) -> Self:
        if self.probe and not self.train.warm:
            raise ValueError("probe starts from AdamW's moments, which training leaves with `train: {warm: true}`")
        if self.probe and self.on_policy:
            raise ValueError("probe is of the student that train leaves, and on_policy trains on; drop one of the two")
        return self

    @model_validator(mode="after")
    def _gaps_to_refit(self) -> Self:
        if self.refit and not isinstance(self.init, PrunedStudent):
            raise ValueError("refit is for a student of kind pruned: a given model has no gaps")
        return self
