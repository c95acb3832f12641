"""What all tests share: a model folder with a tokenizer only, a recipe for it, and teachers in this process.

Knows the `tokenizers` library and the fake teacher. Imports no Ray, torch or vLLM, but for
the fixture that makes a tiny model.
"""

import asyncio
import io
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import disks
import pytest
import stores
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from pipelines.core.chat import ChatTokenizer
from pipelines.core.hashing import key_of
from pipelines.core.progress import Progress
from pipelines.core.records import Completion, SoftTargets
from pipelines.core.stage import Done, StageRun
from pipelines.core.storage import Folder
from pipelines.generate.fake import FakeTeacher
from pipelines.generate.pool import run_here
from pipelines.generate.teacher import Request, RequestFailed, ScoreRequest, Teacher, TeacherId
from pipelines.generate.work import ShardRun

TRAINED_ON = (
    "Describe the bread near the river before winter.",
    "Explain a recipe without the garden, then list the books of the library.",
    "Write a short letter about an old bridge between two islands.",
    "Compare the engine of the clock with the violin behind the market.",
    "user assistant system You are a helpful assistant.",
)
# ChatML; a conversation that opens with another role gets a system turn of its own.
CHAT_TEMPLATE = """\
{%- for message in messages -%}
{%- if loop.first and message.role != 'system' -%}
{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}
{%- endif -%}
{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<|im_start|>assistant\\n' }}
{%- endif -%}
"""


ENGINES = ("of whole runs", "of parts")
WHOLE_RUNS = ("benchmark", "cluster", "end_to_end", "faults")  # folders; they take as long as all other engines


def pytest_configure(config: pytest.Config) -> None:
    """Of two processes each has its own Ray, and what one starts the other does not take for its own."""
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        os.environ["RAY_TMPDIR"] = tempfile.mkdtemp(prefix=f"ray-{worker}-")  # short, for the sockets in it


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Engines first: they take longest."""
    order = [*ENGINES, ""]
    items.sort(key=lambda item: order.index(_engines(item.nodeid)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Of two processes one starts the engines of whole runs, one after another; the other those of parts, and then has
    all other files.

    By what stands in a file, as xdist's groups go by nodes' names, which pytest 9.2 does not let it change.
    """
    from xdist.scheduler import LoadScopeScheduling

    class EnginesTogether(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _engines(nodeid) or nodeid.partition("::")[0]

    return EnginesTogether(config, log)


@cache
def _engine_files() -> frozenset[str]:
    files = Path(__file__).parent.rglob("test_*.py")
    return frozenset(file.name for file in files if "mark.engine" in file.read_text())


def _engines(nodeid: str) -> str:
    """Which engines a test starts; none: ""."""
    file = Path(nodeid.partition("::")[0])
    if file.name not in _engine_files():
        return ""
    return ENGINES[0] if file.parent.name in WHOLE_RUNS else ENGINES[1]


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder without weights: a byte-level BPE of 400 tokens and a chat template. Copy it, do not change it."""
    folder = tmp_path_factory.mktemp("tiny-model")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TRAINED_ON, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "pad_token": "<|im_end|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def tiny_llama(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tokenizer's folder with the weights of a random model of four layers beside it.

    The weights are wider than usual, so that its distributions are far from flat.
    """
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("llama") / "tiny"
    shutil.copytree(tiny_model_folder, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=True,
        initializer_range=0.1, bos_token_id=None, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    torch.manual_seed(1)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_served(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for vLLM, which asks for wider heads: two layers, two heads."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("served") / "tiny"
    shutil.copytree(tiny_model_folder, folder)
    config = LlamaConfig(
        vocab_size=400, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=ChatTokenizer(str(folder)).eos_id,
    )  # fmt: skip
    torch.manual_seed(1)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random T5 with dropout, as it ships: a Unigram tokenizer that ends a text with </s>, and no chat template."""
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    folder = tmp_path_factory.mktemp("t5") / "tiny"
    tokenizer = Tokenizer(models.Unigram())
    split = [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(split)
    tokenizer.decoder = decoders.Metaspace()
    letters = pre_tokenizers.ByteLevel.alphabet()
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=400, special_tokens=special, unk_token="<unk>", initial_alphabet=letters, show_progress=False
    )
    tokenizer.train_from_iterator(TRAINED_ON, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    config = T5Config(
        vocab_size=tokenizer.get_vocab_size(), d_model=32, d_kv=8, d_ff=64, num_layers=2,
        num_heads=4, decoder_start_token_id=0, feed_forward_proj="gated-gelu",
    )  # fmt: skip
    torch.manual_seed(1)
    T5ForConditionalGeneration(config).save_pretrained(folder)
    _save_tokenizer(tokenizer, folder, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    return folder


@pytest.fixture(scope="session")
def tiny_bart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BART: a byte-level BPE that puts <s> and </s> around a text, and logits with a bias that is not 0."""
    import torch
    from transformers import BartConfig, BartForConditionalGeneration

    folder = tmp_path_factory.mktemp("bart") / "tiny"
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special, letters = ["<s>", "<pad>", "</s>"], pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=letters, show_progress=False)
    tokenizer.train_from_iterator(TRAINED_ON, trainer)
    around = [("<s>", 0), ("</s>", 2)]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=around)
    config = BartConfig(
        vocab_size=tokenizer.get_vocab_size(), d_model=32, encoder_layers=2, decoder_layers=2, encoder_ffn_dim=64,
        decoder_ffn_dim=64, encoder_attention_heads=4, decoder_attention_heads=4, max_position_embeddings=256,
        init_std=0.2, dropout=0.0,
    )  # fmt: skip
    torch.manual_seed(1)
    model = BartForConditionalGeneration(config)
    model.final_logits_bias.normal_()
    model.save_pretrained(folder)
    _save_tokenizer(tokenizer, folder, bos_token="<s>", pad_token="<pad>", eos_token="</s>")
    return folder


def _save_tokenizer(tokenizer: Tokenizer, folder: Path, **special: str) -> None:
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")


@pytest.fixture(scope="session")
def model(tiny_model_folder: Path) -> Path:
    """The tokenizer's folder with a config and empty weights: enough to plan with."""
    config = {
        "num_hidden_layers": 4, "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": 400, "tie_word_embeddings": True,
    }  # fmt: skip
    (tiny_model_folder / "config.json").write_text(json.dumps(config))
    (tiny_model_folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    return tiny_model_folder


@pytest.fixture(scope="session")
def tokenizer(tiny_model_folder: Path) -> ChatTokenizer:
    return ChatTokenizer(str(tiny_model_folder))


@pytest.fixture
def recipe_data(tiny_model_folder: Path) -> dict[str, Any]:
    """A small recipe that is valid as it stands; tests change their own copy."""
    return {
        "name": "small",
        "method": "distil",
        "teachers": {"main": {"kind": "fake", "model": str(tiny_model_folder)}},
        "seeds": {"held_out": 8},
        "instructions": {"teacher": "main", "target": 12, "requests_per_round": 4, "sampling": {"max_tokens": 400}},
        "answers": {"teacher": "main"},
        "student": {
            "init": {"kind": "pruned", "teacher": "main", "layers": 1},
            "signals": "main",
            "train": {"losses": {"answer": 1.0, "kd": 1.0}, "top_k": 4},
        },
        "evaluate": {"teacher": "main"},
    }


class FakeFaculty:
    """Teachers of kind `fake` in this process (see generate.faculty), and what they were asked.

    `says` writes a reply in the fake's place; `refuses` fails one request; `tarries` lets replies come in another
    order; after `dies_after` answers, given one at a time, the engine is gone and stays gone.
    """

    def __init__(
        self,
        folder: Path,
        says: Callable[[Request], str] | None = None,
        refuses: Callable[[Request | ScoreRequest], bool] = lambda _: False,
        tarries: bool = False,
        dies_after: int | None = None,
    ) -> None:
        self._tokenizer = ChatTokenizer(str(folder))
        self._says, self._refuses, self._dies_after = says, refuses, dies_after
        self._tarries = tarries
        self.asked: list[Request | ScoreRequest] = []

    @property
    def asked_ids(self) -> list[str]:
        return [request.id for request in self.asked]

    def identity(self, name: str) -> TeacherId:
        return TeacherId(name, f"fake-{key_of(self._tokenizer.vocabulary())}")

    @asynccontextmanager
    async def warm(self, name: str) -> AsyncIterator[Teacher]:
        yield _Watched(self, FakeTeacher(self.identity(name).digest, self._tokenizer))

    def over_shards(self, name: str, run: ShardRun, requests: int, progress: Progress) -> float:
        async def on_warm() -> None:
            async with self.warm(name) as teacher:
                await run_here(run, teacher, progress)

        asyncio.run(on_warm())
        return 0.0

    def hear(self, request: Request | ScoreRequest) -> None:
        """Note a request, and fail where this faculty was told to."""
        if self._dies_after is not None and len(self.asked) >= self._dies_after:
            raise ConnectionError("the engine is gone")
        self.asked.append(request)
        if self._refuses(request):
            raise RequestFailed("refused, as the test wants")

    async def tarry(self, request: Request) -> None:
        """Up to 10 ms, the longer the smaller the id."""
        await asyncio.sleep((255 - int(request.id[:2], 16)) / 25_500 if self._tarries else 0)

    def put_words_in(self, said: Completion, request: Request) -> Completion:
        if self._says is None:
            return said
        text = self._says(request)
        ids = tuple(self._tokenizer.encode(text))
        return replace(said, text=text, token_ids=ids, output_tokens=len(ids), finish_reason="stop")


class _Watched:
    """A teacher that tells its faculty what it is asked; one answer at a time where it may die."""

    def __init__(self, faculty: FakeFaculty, teacher: FakeTeacher) -> None:
        self._faculty, self._teacher = faculty, teacher
        self._turn = asyncio.Semaphore(1 if faculty._dies_after is not None else 10_000)

    async def write(self, request: Request) -> Completion:
        async with self._turn:
            self._faculty.hear(request)
            await self._faculty.tarry(request)
            return self._faculty.put_words_in(await self._teacher.write(request), request)

    async def score(self, request: ScoreRequest) -> SoftTargets:
        async with self._turn:
            self._faculty.hear(request)
            return await self._teacher.score(request)


@pytest.fixture
def make_faculty(tiny_model_folder: Path) -> Callable[..., FakeFaculty]:
    """FakeFaculty over the tiny model folder, with its keyword arguments."""
    return lambda **how: FakeFaculty(tiny_model_folder, **how)


@pytest.fixture
def runs(tmp_path: Path) -> Folder:
    return Folder(str(tmp_path / "runs"))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[disks.SmallDisk]:
    """A small disk, for tests that fill it."""
    (tmp_path / "disk").mkdir()
    try:
        with disks.small_disk(tmp_path / "disk", 2**26) as mounted:
            yield mounted
    except disks.NotAllowed as error:
        pytest.skip(f"no disk can be mounted here: {error}")


@pytest.fixture(scope="session")
def object_store() -> Iterator[int]:
    """The port of a local S3 API, with credentials for it in the environment."""
    with pytest.MonkeyPatch.context() as patch, stores.moto() as port:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield port


@pytest.fixture
def stored_runs(object_store: int, tmp_path: Path) -> Folder:
    """A runs folder of the test's own on an object store."""
    return Folder(stores.uri(object_store, f"{tmp_path.parent.name}/{tmp_path.name}/runs"))


@pytest.fixture(params=["disk", "s3"])
def any_runs(request: pytest.FixtureRequest) -> Folder:
    """A runs folder of either kind: the test runs with each."""
    folder: Folder = request.getfixturevalue("runs" if request.param == "disk" else "stored_runs")
    return folder


@pytest.fixture
def quiet() -> Progress:
    """Progress that nobody sees."""
    return Progress(out=io.StringIO())


@pytest.fixture
def stage_run(runs: Folder, quiet: Progress) -> Callable[..., StageRun]:
    """What a stage's function is given: stage_run("answers", source=folder_of_the_input)."""

    def make(name: str, **inputs: Folder) -> StageRun:
        return StageRun(runs.child(name), {role: Done(folder, {}) for role, folder in inputs.items()}, runs, quiet)

    return make
