"""How a student is trained: losses, schedule, engine."""

from typing import Literal, Self

from pydantic import Field, model_validator

from pipelines.core.config.base import Strict


class KD(Strict):
    """How `kd` compares the student's next-token distributions with the teacher's."""

    divergence: Literal["forward", "reverse", "jsd"] = Field(
        "forward", description="KL(teacher ‖ student), KL(student ‖ teacher), or between them as in arXiv 2306.13649"
    )
    beta: float | None = Field(None, gt=0, lt=1, description="of jsd: the teacher's share of the mixture")
    temperature: float = Field(1.0, gt=0, le=20, description="of both; the loss is multiplied by its square")
    source: Literal["captured", "online"] = Field(
        "captured",
        description="the top_k candidates of a pass before training, or the whole vocabulary, by the teacher beside "
        "the student in every training worker",
    )

    @model_validator(mode="after")
    def _beta_of_jsd(self) -> Self:
        if (self.divergence == "jsd") != (self.beta is not None):
            raise ValueError(
                "beta (between 0 and 1; 0.5 is the symmetric one) goes with `divergence: jsd` and with no other; for "
                "its two ends, where jsd is 0, write forward or reverse"
            )
        return self

    @model_validator(mode="after")
    def _captured_at_one(self) -> Self:
        if self.source == "captured" and self.temperature != 1:
            raise ValueError(
                f"temperature ({self.temperature:g}) needs `source: online`: candidates are captured at 1, and how the "
                "rest of the vocabulary would spread at another temperature is not among them"
            )
        return self

    def in_words(self, top_k: int) -> str:
        """What is compared with what, and what that leaves out."""
        kind = {"forward": "KL(teacher ‖ student)", "reverse": "KL(student ‖ teacher)", "jsd": f"JSD at {self.beta}"}
        if self.source == "online":
            heat = f" at temperature {self.temperature:g}" if self.temperature != 1 else ""
            return f"{kind[self.divergence]}{heat} over the whole vocabulary"
        words = f"{kind[self.divergence]} over {top_k} candidates and all other tokens as one"
        if self.divergence != "forward":
            words += "; what the student does among the others goes unseen, so look at their mass (teacher_rest)"
        return words


Loss = Literal["answer", "kd", "attention", "base_kl", "dpo"]
Tracker = Literal["mlflow", "wandb"]
Precision = Literal["bf16", "fp32"]


class Validation(Strict):
    """Looks, every so many steps, at examples that are not trained on; the weights of the best look are the student's.

    Examples of one lineage stay on one side. What is looked at is the loss that is trained.
    """

    share: float = Field(0.1, gt=0, lt=1, description="of the examples")
    every: int = Field(50, ge=1, description="steps; the last one is always followed by a look")
    patience: int | None = Field(None, ge=1, description="training ends after so many looks in a row were no better")


class LoRA(Strict):
    """Low-rank adapters learn in place of the weights (arXiv 2106.09685), and are merged when training ends."""

    rank: int = Field(16, ge=1, le=1024)
    alpha: int = Field(32, ge=1)
    targets: tuple[str, ...] | Literal["all-linear"] = Field(
        "all-linear", description="names of linear layers, such as q_proj; all but the head without it"
    )


class Train(Strict):
    """One pass of the one training loop. Sizes are in real (unpadded) tokens or in whole examples."""

    epochs: int = Field(1, ge=1)
    examples_per_step: int = Field(8, ge=1, description="or questions, with all that is learnt of each")
    tokens_per_pack: int = Field(1024, ge=16, le=2048, description="an encoder-decoder's padding counts")
    max_length: int = Field(1024, ge=8, description="of an encoder-decoder: of what is read, and of what is written")
    learning_rate: float = Field(3e-4, gt=0, lt=1)
    warmup: float = Field(0.05, ge=0, lt=1, description="share of the steps")
    schedule: Literal["linear", "cosine", "wsd", "constant", "ramp"] = Field(
        "linear", description="how the rate falls after warm-up; wsd falls at the end only, a ramp rises to the end"
    )
    final_learning_rate: float = Field(0.1, ge=0, le=1, description="share of the peak that it falls to")
    decay: float = Field(0.2, gt=0, le=1, description="of wsd: the share of the steps in which it falls")
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
    losses: dict[Loss, float] = Field(
        default={"answer": 1.0},
        description="coefficient of each: cross-entropy; the teacher's distributions; its attention maps; KL to the "
        "model that the student was; preferences",
    )
    kd: KD = KD()
    dpo_beta: float = Field(0.1, gt=0, le=10, description="of dpo: how far the model may leave its reference")
    top_k: int = Field(32, ge=1, le=1024, description="candidates kept per position for captured 'kd'")
    unshifted: bool = Field(
        False, description="to reproduce arXiv 2406.19112's released code: 'kd' and 'attention' read one token too late"
    )
    neftune_alpha: float = Field(
        0.0, ge=0, le=100, description="noise on the embeddings in training (arXiv 2310.05914); 5 is usual, 0 is none"
    )
    lora: LoRA | None = Field(None, description="train adapters in place of the weights")
    validation: Validation | None = None
    warm: bool = Field(
        False, description="also write fp32 masters and AdamW's moments, `warm/`: what a probe of influence starts from"
    )
    workers: int = Field(1, ge=1)
    zero_stage: Literal[0, 1, 2, 3] = 2
    offload: bool = Field(
        False, description="masters and moments live in the host's memory; needs a zero_stage above 0"
    )
    gradient_checkpointing: bool = Field(False, description="compute each layer again in the backward pass")
    precision: Precision = "bf16"
    checkpoint_every: int = Field(50, ge=1, description="steps")
    track: tuple[Tracker, ...] = Field(
        (), description="where the curve goes beside TensorBoard's files: mlflow, wandb (their settings: environment)"
    )

    @model_validator(mode="after")
    def _something_to_learn(self) -> Self:
        if not any(value > 0 for value in self.losses.values()):
            raise ValueError("losses: at least one coefficient must be above 0")
        if any(value < 0 for value in self.losses.values()):
            raise ValueError("losses: a coefficient cannot be negative")
        return self

    @model_validator(mode="after")
    def _losses_meet(self) -> Self:
        if self.kd != KD() and not self.has("kd"):
            raise ValueError("kd says how the loss 'kd' is computed, and losses does not have it")
        if self.dpo_beta != type(self).model_fields["dpo_beta"].default and not self.has("dpo"):
            raise ValueError("dpo_beta is of the loss 'dpo', and losses does not have it")
        if self.unshifted and not (self.has("kd") or self.has("attention")):
            raise ValueError("unshifted is about 'kd' and 'attention', and losses has neither")
        if self.unshifted and self.has("kd") and self.kd.source == "captured":
            raise ValueError("unshifted needs `kd: {source: online}`: what is captured predicts the right tokens")
        return self

    @model_validator(mode="after")
    def _engine_can(self) -> Self:
        if self.offload and not self.zero_stage:
            raise ValueError("offload needs a zero_stage of 1, 2 or 3: only what is sharded can be moved")
        if self.gradient_checkpointing and self.has("attention"):
            raise ValueError("gradient_checkpointing computes attention twice, so it does not go with 'attention'")
        if self.lora and (self.freeze_embeddings or self.frozen_layers):
            raise ValueError("lora leaves all weights as they are: drop freeze_embeddings and frozen_layers")
        if self.warm and self.validation:
            raise ValueError("warm is the state after the last step, and validation keeps the best one: drop either")
        return self

    def has(self, loss: Loss) -> bool:
        """Whether the student learns from it."""
        return self.losses.get(loss, 0) > 0

    @property
    def needs_signals(self) -> bool:
        """Whether a teacher's distributions are captured before training."""
        return self.has("kd") and self.kd.source == "captured"

    @property
    def needs_teacher(self) -> bool:
        """Whether a teacher runs beside the student."""
        return self.has("attention") or (self.has("kd") and self.kd.source == "online")
