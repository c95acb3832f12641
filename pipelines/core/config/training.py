"""The student: what it starts from and how it is trained."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipelines.core.config.base import Strict
from pipelines.core.config.teachers import Engine


class Refit(Strict):
    """Least squares after pruning: each layer left above a gap takes over what it can of the layers that are gone."""

    rows: int = Field(256, ge=1, description="training examples to fit on")
    ridge: float = Field(1.0, gt=0, description="pull towards the layer as it was; 0.1 overfits a few hundred rows")


class PrunedStudent(Strict):
    """The teacher with layers removed one by one, each time the one whose loss hurts least."""

    kind: Literal["pruned"]
    teacher: str
    layers: int = Field(ge=1)
    calibration_rows: int = Field(16, ge=1)
    calibration_tokens: int = Field(64, ge=8, description="tokens of each row that are measured")


class GivenStudent(Strict):
    """A model of your own; to learn a teacher's distributions it must have the teacher's tokens."""

    kind: Literal["model"]
    model: str


Method = Literal["sft", "im", "im-released"]
Template = Literal["chat", "alpaca", "tulu", "inst"]


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


class Train(Strict):
    """One pass of the one training loop. Sizes are in real (unpadded) tokens or in whole examples."""

    epochs: int = Field(1, ge=1)
    examples_per_step: int = Field(8, ge=1)
    tokens_per_pack: int = Field(1024, ge=16, le=2048)
    max_length: int = Field(1024, ge=8)
    learning_rate: float = Field(3e-4, gt=0, lt=1)
    warmup: float = Field(0.05, ge=0, lt=1, description="share of the steps")
    final_learning_rate: float = Field(0.1, ge=0, le=1, description="share of the peak, reached linearly")
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = Field(0.0, ge=0)
    clip: float = Field(1.0, gt=0)
    freeze_embeddings: bool = Field(
        False, description="leave the token embedding (and a tied head) as it is: AdamW moves even rows without news"
    )
    frozen_layers: int = Field(
        0, ge=0, description="so many of the lowest layers stay as they are: below a gap they are the teacher's own"
    )
    normalise: Literal["global_token", "per_example"] = "global_token"
    losses: dict[Literal["answer", "kd"], float] = Field(
        default={"answer": 1.0}, description="coefficient of each loss component"
    )
    top_k: int = Field(32, ge=1, le=1024, description="candidates kept per position for 'kd'")
    workers: int = Field(1, ge=1)
    zero_stage: Literal[0, 1, 2, 3] = 2
    precision: Literal["bf16", "fp32"] = "bf16"
    checkpoint_every: int = Field(50, ge=1, description="steps")

    @model_validator(mode="after")
    def _something_to_learn(self) -> "Train":
        if not any(value > 0 for value in self.losses.values()):
            raise ValueError("losses: at least one coefficient must be above 0")
        if any(value < 0 for value in self.losses.values()):
            raise ValueError("losses: a coefficient cannot be negative")
        return self


class Student(Strict):
    init: Annotated[PrunedStudent | GivenStudent, Field(discriminator="kind")]
    learn: Learn = Learn()
    signals: str | dict[str, str] | None = Field(
        None, description="the teacher whose distributions 'kd' learns from; or, for each source of data, which"
    )
    refit: Refit | None = None
    engine: Engine = Engine()
    train: Train = Train()

    @model_validator(mode="after")
    def _gaps_to_refit(self) -> "Student":
        if self.refit and not isinstance(self.init, PrunedStudent):
            raise ValueError("refit is for a student of kind pruned: a given model has no gaps")
        return self
