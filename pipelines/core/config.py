"""The sections of a recipe, checked before anything starts.

Knows names, bounds and how a section's fields depend on each other. Which method has which sections stands in
`recipe.py`; `recipe_file.py` reads the YAML and turns errors into lines a user can act on.
"""

import json
import re
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, field_validator, model_validator


class Strict(BaseModel):
    """No unknown keys, no infinities (they have no hash), no changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def by_default(kind: str) -> BeforeValidator:
    """A section that names no `kind` is of this one."""

    def named(section: Any) -> Any:
        return {"kind": kind, **section} if isinstance(section, dict) else section

    return BeforeValidator(named)


class Sampling(Strict):
    """How tokens are drawn. `min_p` is the cheap tail cut; `top_p` sorts the vocabulary at every step."""

    temperature: float = Field(0.7, ge=0, le=5)
    top_p: float = Field(1.0, gt=0, le=1)
    min_p: float = Field(0.0, ge=0, le=1)
    presence_penalty: float = Field(0.0, ge=-2, le=2)
    max_tokens: int = Field(128, ge=1, le=131_072)
    stop: tuple[str, ...] = ()


class Engine(Strict):
    """How vLLM runs a model. Nothing here changes what is asked, only how fast and in which number format."""

    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    max_model_len: int = Field(2048, ge=16)
    max_num_seqs: int = Field(64, ge=1, le=4096)
    enforce_eager: bool = False
    kv_cache_gib: float = Field(1.0, gt=0, description="CPU only: memory for the key-value cache")
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1, description="GPU only")
    tensor_parallel_size: int = Field(1, ge=1, le=64)


class Pool(Strict):
    """Bounds between which Ray grows and shrinks the actors that hold this teacher."""

    min: int = Field(1, ge=1)
    max: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> "Pool":
        if self.min > self.max:
            raise ValueError(f"min ({self.min}) is above max ({self.max})")
        return self


class Price(Strict):
    """What a teacher's tokens cost, in any one currency. Changes the report only."""

    prompt_per_million: float = Field(ge=0)
    output_per_million: float = Field(ge=0)

    def of(self, prompt_tokens: int, output_tokens: int) -> float:
        return (prompt_tokens * self.prompt_per_million + output_tokens * self.output_per_million) / 1e6


class Teaches(Strict):
    """What every kind of teacher has."""

    price: Price | None = None


class RunsHere(Teaches):
    """What every teacher has that runs in a process of ours."""

    watchdog_s: float = Field(
        600, ge=1, le=86_400, description="silence of the whole teacher, while it is asked, that counts as a hang"
    )


class VLLMTeacher(RunsHere):
    """A model run by vLLM on this cluster.

    A stage with at least `bulk_from` requests runs on the actor pool; smaller ones use the served engine,
    which is started once and stays warm for the whole run.
    """

    kind: Literal["vllm"]
    model: str
    engine: Engine = Engine()
    pool: Pool = Pool()
    bulk_from: int = Field(2_000, ge=0)


class HTTPTeacher(Teaches):
    """A model behind an OpenAI-compatible API: hosted, or a server of your own. Nothing of it runs here.

    `api`: `chat` takes users' turns, `completions` plain documents to go on with (`instructions.prompt: numbered`).
    `vllm` is for a vLLM server: prompts go as token ids of `tokenizer`, so it takes both, and can give signals.
    """

    kind: Literal["http"]
    base_url: str = Field(description="up to and with /v1, as a rule")
    model: str = Field(min_length=1, description="as the API names it")
    api: Literal["chat", "completions", "vllm"] = "chat"
    tokenizer: str | None = Field(None, description="for `api: vllm`: the model that it serves, as for kind vllm")
    api_key_env: str | None = Field(None, description="the environment variable that holds the key")
    at_once: int = Field(32, ge=1, le=4096)
    requests_per_minute: float | None = Field(None, gt=0)
    tokens_per_minute: float | None = Field(None, gt=0)
    retries: int = Field(6, ge=0, le=20, description="of one request, after a wait that doubles or is as asked for")
    timeout_s: float = Field(600, gt=0, le=86_400, description="of one try")
    extra_body: dict[str, JsonValue] = Field(
        default={}, description="more fields of the request's body; null takes one of ours away"
    )

    @field_validator("base_url")
    @classmethod
    def _plain_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("write an address like https://HOST/v1")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError("write the bare address; a key goes into an environment variable (api_key_env)")
        return value.rstrip("/")

    @field_validator("api_key_env")
    @classmethod
    def _name_not_key(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
            raise ValueError("write the name of an environment variable that holds the key, not the key")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> "HTTPTeacher":
        if (self.api == "vllm") != (self.tokenizer is not None):
            raise ValueError("`api: vllm` and `tokenizer` go together: a vLLM server is asked in its model's token ids")
        if ours := {"model", "messages", "prompt", "n", "stream"} & self.extra_body.keys():
            raise ValueError(f"extra_body cannot change {', '.join(sorted(ours))}")
        json.dumps(self.extra_body, allow_nan=False)  # a ValueError where JSON has no such number
        return self


class RecordedTeacher(Teaches):
    """What some teacher said before: JSON lines of {prompt, completion, finish_reason?}, or imported folders.

    A request is looked up by its exact prompt, several samples in the files' order.
    """

    kind: Literal["recorded"]
    files: tuple[str, ...] = Field(min_length=1)


class FakeTeacher(RunsHere):
    """A deterministic stand-in with log-probabilities: dry runs, tests, load tests. Its text means nothing."""

    kind: Literal["fake"]
    model: str = Field(description="where its tokenizer comes from")
    latency_s: float = Field(0.0, ge=0, le=600)
    pool: Pool = Pool()
    bulk_from: int = Field(1_000_000, ge=0)


LocalTeacher = VLLMTeacher | FakeTeacher  # its model's files are here
Teacher = Annotated[VLLMTeacher | HTTPTeacher | RecordedTeacher | FakeTeacher, Field(discriminator="kind")]


class Seeds(Strict):
    """Where the tasks come from that start everything, and how many are kept away for evaluation."""

    tasks: str = Field(
        "builtin", description="'builtin', a JSON lines file in Self-Instruct's format, or an imported folder"
    )
    reader: str | None = Field(None, description="module:function of your own: path -> iterable of tasks (dicts)")
    held_out: int = Field(0, ge=0)


class SplitSeeds(Seeds):
    """Seeds of a method that evaluates."""

    held_out: int = Field(32, ge=2)


class Filtered(Strict):
    """What a new instruction must be like."""

    filters: tuple[str, ...] = ("length", "keywords", "start")
    min_words: int = Field(4, ge=1)
    max_words: int = Field(150, ge=1)
    max_rouge_l: float = Field(
        0.7, gt=0, le=1, description="F1 with what is held out, and with what it must not repeat"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_words > self.max_words:
            raise ValueError(f"min_words ({self.min_words}) is above max_words ({self.max_words})")
        return self


class Instructions(Filtered):
    """Rounds of new instructions (Self-Instruct, arXiv 2212.10560, section 2; filters of its released code)."""

    kind: Literal["rounds"] = "rounds"
    teacher: str
    target: int = Field(ge=1, description="how many new instructions to keep")
    prompt: str = Field("numbered", description="a shipped prompt's name, or a Jinja file of your own")
    show: Literal["all", "classification"] = Field("all", description="which seeds are shown")
    seed_examples: int = Field(6, ge=1)
    own_examples: int = Field(2, ge=0)
    list_end: int | None = Field(
        None, ge=2, description="the number that ends a list; without it, after as many items as were shown"
    )
    requests_per_round: int = Field(16, ge=1, description="prompts of one round")
    samples: int = Field(1, ge=1, le=64, description="completions of each prompt; they share a group")
    max_rounds: int = Field(50, ge=1)
    sampling: Sampling = Sampling(temperature=0.9, max_tokens=192)

    @model_validator(mode="after")
    def _has_room(self) -> Self:
        shown = self.seed_examples + self.own_examples
        if self.list_end is not None and self.list_end < shown + 2:
            raise ValueError(f"list_end ({self.list_end}) leaves no room after {shown} examples")
        return self


class Given(Strict):
    """The seed tasks that are not held out, as they are: a file's or an imported folder's prompts."""

    kind: Literal["given"]
    max_rouge_l: float = Field(0.7, gt=0, le=1, description="with the held-out tasks")


class Evolved(Filtered):
    """The seed tasks, and what a teacher makes of them by rewriting: each generation rewrites the one before."""

    kind: Literal["evolved"]
    teacher: str
    generations: int = Field(2, ge=1, le=8)
    ways: tuple[str, ...] = Field(
        tuple(f"evolve-chat/{way}" for way in ("constraints", "deepen", "concretise", "reasoning", "breadth")),
        min_length=1,
        description="prompts that ask for a rewriting; each task meets one of them, chosen by hash",
    )
    sampling: Sampling = Sampling(temperature=0.9, max_tokens=256)
    max_rouge_l_with_parent: float = Field(0.8, gt=0, le=1, description="above it a task was not rewritten")


AnyInstructions = Annotated[Instructions | Given | Evolved, Field(discriminator="kind"), by_default("rounds")]


class Instances(Strict):
    """Examples of each instruction, with inputs and outputs: Self-Instruct's second to fourth pass.

    First the teacher says whether a task is answered with one label of a few; then it writes examples, the input
    first or, for such tasks, the label first.
    """

    teacher: str
    task_type_prompt: str = "task-type"
    input_first_prompt: str = "input-first"
    output_first_prompt: str = "output-first"
    task_type_sampling: Sampling = Sampling(temperature=0, max_tokens=3)
    sampling: Sampling = Sampling(temperature=0, presence_penalty=1.5, max_tokens=350)
    most: int = Field(5, ge=1, le=50, description="examples to keep of one instruction")


class Reasoning(Strict):
    """A teacher that thinks aloud before it answers: which marks stand around its thoughts, and what becomes of them.

    `drop` leaves them in the ledger alone; `keep` stores them beside each answer; `train` also trains on them, as the
    beginning of the assistant's turn: open mark, thoughts, close mark, an empty line, the answer. (A chat template that
    rewrites such a turn is refused, as its tokens could not be placed.)
    """

    open: str = Field("<think>", min_length=1)
    close: str = Field("</think>", min_length=1)
    opened: bool = Field(False, description="the chat template writes the open mark, so replies begin with thoughts")
    keep: Literal["drop", "keep", "train"] = "drop"


class Answers(Strict):
    """Answers to every instruction, by a chat teacher."""

    kind: Literal["chat"] = "chat"
    teacher: str
    samples: int = Field(1, ge=1, le=64, description="answers per instruction, each drawn with a seed of its own")
    sampling: Sampling = Sampling()
    cut_off: Literal["keep", "drop"] = Field(
        "keep", description="an answer that hit max_tokens: train on what is there (no end token), or drop it"
    )
    max_repetition: float = Field(
        1.0, ge=0, le=1, description="an answer is dropped when a larger share of its 3-grams stood in it before"
    )
    reasoning: Reasoning | None = Field(None, description="for teachers that think aloud; without it nothing is cut")


class OwnAnswers(Strict):
    """The answers that come with the tasks: seeds' own, triples', instances'. Nobody is asked."""

    kind: Literal["own"]
    turns: Literal["plain", "varied"] = Field(
        "plain", description="the user's turn: instruction and input; or in one of several shapes, chosen by hash"
    )


AnyAnswers = Annotated[Answers | OwnAnswers, Field(discriminator="kind"), by_default("chat")]


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
    signals: str | None = Field(None, description="the teacher whose distributions 'kd' learns from")
    refit: Refit | None = None
    engine: Engine = Engine()
    train: Train = Train()

    @model_validator(mode="after")
    def _gaps_to_refit(self) -> "Student":
        if self.refit and not isinstance(self.init, PrunedStudent):
            raise ValueError("refit is for a student of kind pruned: a given model has no gaps")
        return self


class Evaluate(Strict):
    """Held-out prompts, through the endpoints. References are the teacher's own answers to them."""

    teacher: str
    sampling: Sampling = Sampling()
    samples: int = Field(1, ge=1, le=64, description="answers of each model to each prompt; figures are their means")
    confidence: float = Field(0.95, gt=0.5, lt=1)
    resamples: int = Field(2_000, ge=100)
