"""Teachers: what they are and where they run."""

import json
import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, JsonValue, field_validator, model_validator

from pipelines.core.config.base import Strict


class Engine(Strict):
    """How vLLM runs a model: how fast, and in which number format. The latter is part of what a teacher is."""

    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    max_model_len: int = Field(2048, ge=16)
    max_num_seqs: int = Field(64, ge=1, le=4096)
    enforce_eager: bool = False
    kv_cache_gib: float = Field(1.0, gt=0, description="CPU only: memory for the key-value cache")
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1, description="GPU only")
    tensor_parallel_size: int = Field(1, ge=1, le=64, description="GPUs that share each layer")
    pipeline_parallel_size: int = Field(1, ge=1, le=64, description="groups of those, each with some of the layers")
    quantization: str | None = Field(None, description="vLLM's name of a way: fp8, bitsandbytes, ...")

    @property
    def gpus(self) -> int:
        """GPUs of one engine, where it runs on GPUs."""
        return self.tensor_parallel_size * self.pipeline_parallel_size


class Pool(Strict):
    """How many actors hold this teacher: as many as the work can keep busy, between these bounds."""

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
    adapter: str | None = Field(None, description="a LoRA adapter's folder (PEFT), merged into the model once")
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
