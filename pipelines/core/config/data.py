"""The sections in which data comes to be: seeds, instructions, instances, answers."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipelines.core.config.base import Sampling, Strict, by_default


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
    filters: tuple[str, ...] = Field(
        (),
        description="of refusal, echo, placeholder, lines, symbols, capitals, or a module:function of your own "
        "(prompt, answer) -> reason or None",
    )
    reasoning: Reasoning | None = Field(None, description="for teachers that think aloud; without it nothing is cut")


class OwnAnswers(Strict):
    """The answers that come with the tasks: seeds' own, triples', instances'. Nobody is asked."""

    kind: Literal["own"]
    turns: Literal["plain", "varied"] = Field(
        "plain", description="the user's turn: instruction and input; or in one of several shapes, chosen by hash"
    )


AnyAnswers = Annotated[Answers | OwnAnswers, Field(discriminator="kind"), by_default("chat")]


class Source(Strict):
    """Conversations that are there already: a file, an imported folder, or the built-in tasks with their answers."""

    path: str = Field("builtin", description="a file, a folder of `tutelage import`, or 'builtin'")
    format: Literal["alpaca", "sharegpt", "messages", "self-instruct", "parquet", "hf"] | None = Field(
        None, description="of a file; without it, what the file looks like"
    )
    where: dict[str, str | int | float | bool] = Field(
        {}, description="only rows whose columns hold these values: the flag that tells a file's domains apart"
    )
    limit: int | None = Field(None, ge=1, description="rows to take, drawn by the recipe's seed; all without it")
    weight: float = Field(1.0, gt=0, description="of each of its rows' losses")


class Data(Strict):
    """What a student is trained on, by names that `student.signals` can tell apart, and what is kept away from it."""

    sources: dict[str, Source] = Field(min_length=1)
    held_out: int = Field(32, ge=2, description="rows of each source to evaluate on; no prompt is in both")
