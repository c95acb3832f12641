"""Which benchmarks models are measured on."""

from pydantic import Field, field_validator

from pipelines.core.config.base import Strict
from pipelines.core.config.evaluation import Bootstrap


class Benchmarks(Strict):
    """Tasks of lm-evaluation-harness, put to every model's endpoint in token ids."""

    tasks: tuple[str, ...] = Field(
        min_length=1,
        description="names that the harness knows (tasks, groups, tags); paths to a task's YAML file or to a folder of "
        "such files, with `/` or `.yaml` in them; or 'builtin'",
    )
    limit: int | None = Field(None, ge=2, description="documents of each task, from its beginning; all without it")
    num_fewshot: int | None = Field(None, ge=0, le=100, description="examples shown first; the task's own without it")
    chat_template: bool = Field(
        False,
        description="whether tasks that are answered in writing are put as users' turns; what is scored by likelihood "
        "is a plain document all the same",
    )
    baseline: str | None = Field(None, description="the model that the others are compared with, document by document")
    known_answers: float = Field(
        0.75,
        ge=0,
        le=1,
        description="the least share of plain texts whose right continuation a model has to find likelier than a wrong "
        "one, before it is measured; guessing comes to a half",
    )
    bootstrap: Bootstrap = Bootstrap()

    @field_validator("tasks")
    @classmethod
    def _each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError("a task is named twice")
        return value
