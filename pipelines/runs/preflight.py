"""What can be known before any engine starts: models, token maps, memory, tokens.

Knows headers and tokenizers on disk (`local_facts`, quick) and how to reach the rest (`reach`). Every complaint
names the recipe's key and what to do.
"""

import asyncio
import shutil

from cluster import demands
from cluster.models import Model
from cluster.session import check_here
from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import (
    SEED_ANSWERS,
    Answers,
    Benchmarks,
    FakeTeacher,
    GivenStudent,
    HTTPTeacher,
    PrunedStudent,
    RecordedTeacher,
    Sampling,
    VLLMTeacher,
)
from pipelines.core.errors import UserError
from pipelines.core.recipe import (
    AnyRecipe,
    Compare,
    DataRecipe,
    Distil,
    Montessori,
    Recipe,
    StudentRecipe,
    TinyLLM,
    Tune,
    signal_teachers,
)
from pipelines.generate import questions, seeds
from pipelines.generate.teacher import Request, RequestFailed, score_request
from pipelines.judge import questions as open_questions
from pipelines.runs import asked, encoder_decoder, estimates, sizes, trainings
from pipelines.train import given_data, track
from serving.api import Api
from serving.client import address
from serving.faculty import ClusterFaculty

GIB = 2**30
GREETING_TOKENS = 16  # some APIs refuse fewer
GREETING_S = 60.0
LEAST_DISK_GIB = 3


def local_facts(recipe: AnyRecipe, faculty: ClusterFaculty) -> list[str]:
    """Facts in words from what is on this machine. UserError for what cannot work."""
    facts = [f"teacher {name}: {_teacher_fact(name, recipe, faculty)}" for name in recipe.teachers]
    _check_disk()
    _check_windows(recipe)
    _check_prompts(recipe)
    tasks = _tasks(recipe)
    teachers, student = sizes.of_teachers(recipe, faculty), 0
    sides = 1
    if isinstance(recipe, StudentRecipe):
        encoder_decoder.check(recipe, faculty, Model.header)
        sides += encoder_decoder.has_encoder(faculty.origin(recipe.student.init).header())
    reference = _reference(recipe, tasks)
    facts += estimates.in_words(recipe, tasks, sides, reference)
    if isinstance(recipe, StudentRecipe):
        _check_layers(recipe, faculty)
        for where, train in {**trainings.of_student(recipe), **trainings.of_teacher(recipe)}.items():
            track.check(f"{where}.track", train.track)
            facts += [f"{where}: {train.kd.in_words(train.top_k)}"] if train.has("kd") else []
        if isinstance(recipe.student.init, GivenStudent):
            facts.append(f"student: starts from {_model_fact(faculty.origin(recipe.student.init))}")
        student = sizes.of_student(recipe, faculty)
        facts += sizes.memory(recipe, teachers, student)
    facts.append(estimates.gpu_hours(recipe, tasks, teachers, student, reference))
    facts += demands.in_words(recipe, faculty.profile) if faculty.profile else []
    return [fact for fact in facts if fact] + [f"note: {note}" for note in recipe.notes]


def reach(recipe: AnyRecipe, faculty: ClusterFaculty) -> list[str]:
    """Make every model available here and compare token maps. UserError, in words, for a mismatch."""
    _check_prompts(recipe)
    if faculty.profile is not None:
        demands.check(recipe, faculty.profile)
        if faculty.address is None:
            check_here(faculty.profile)
    facts = [f"teacher {name}: {_reach_teacher(name, recipe, faculty)}" for name in recipe.teachers]
    if isinstance(recipe, StudentRecipe):
        encoder_decoder.check(recipe, faculty, Model.fetched_header)
        _check_template(recipe, faculty)
        _check_layers(recipe, faculty)
        _check_token_maps(recipe, faculty)
    if isinstance(recipe, Compare) and recipe.benchmarks:
        facts.append(_benchmark_fact(recipe.benchmarks, recipe.seed))
    if faculty.address is not None:
        facts.append(_cluster_fact(faculty))
    return facts


def _tasks(recipe: AnyRecipe) -> int:
    """How many rows a run starts from: seed tasks, or what it learns from. UserError where they cannot be read."""
    match recipe:
        case Tune():
            halves = given_data.split_sources(recipe.data, recipe.seed)
            return sum(len(rows) for rows, _ in halves["train"].values())
        case Compare():
            return len(open_questions.drawn(recipe.questions, recipe.seed)[0]) if recipe.judge else 0
        case TinyLLM():
            return len(questions.drawn(recipe.data, recipe.seed)[0]["train"])
        case _:
            return len(seeds.read(seeds.seed_file(recipe.seeds), recipe.seeds.reader)[0])


def _reference(recipe: AnyRecipe, tasks: int) -> int:
    """How many rows influence is measured on; 0 where none is. UserError where they cannot be read."""
    if not isinstance(recipe, Montessori):
        return 0
    source, train = recipe.rounds.probe.reference, tasks - recipe.seeds.held_out
    if source.path == SEED_ANSWERS:
        return min(source.limit or train, train)
    return len(given_data.drawn("rounds.probe.reference", source, recipe.seed))


def _benchmark_fact(config: Benchmarks, seed: int) -> str:
    """Load the tasks with their data, from disk or the model hub: a name that is not there is told first of all."""
    from pipelines.benchmark import harness

    with harness.quiet():
        found = harness.load(config, seed)
    return f"benchmarks: {', '.join(found)}"


def _cluster_fact(faculty: ClusterFaculty) -> str:
    """What the cluster has. UserError where it does not answer."""
    try:
        live = faculty.session
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(
            f"--address {faculty.address}: no Ray cluster answers there: {error} (one that `ray start` began wants its "
            "token: set RAY_AUTH_MODE=token, with the token in RAY_AUTH_TOKEN or ~/.ray/auth_token)"
        ) from error
    return f"cluster {live.address}: {live.gpus} GPUs now"


def _teacher_fact(name: str, recipe: Recipe, faculty: ClusterFaculty) -> str:
    match recipe.teachers[name]:
        case HTTPTeacher() as spec:
            return f"{spec.model} at {spec.base_url}, not asked yet"
        case RecordedTeacher():
            return f"recorded, {faculty.record(name).words()}"
        case FakeTeacher():
            return f"a fake teacher with the tokenizer of {_model_fact(faculty.model(name))}"
        case VLLMTeacher():
            return f"vLLM, {_model_fact(faculty.model(name))}"


def _model_fact(model: Model) -> str:
    header = model.header()
    if not header:
        named = f", {sizes.size(model) / 1e9:g} B parameters by its name" if sizes.size(model) else ""
        return f"{model.ref} (not unpacked or downloaded yet{named})"
    shape = f"{sizes.layers(header)}, {header['vocab_size']:,} tokens"
    return f"{model.ref}: {shape}, {sizes.size(model) / 1e6:,.0f} M parameters"


def _reach_teacher(name: str, recipe: AnyRecipe, faculty: ClusterFaculty) -> str:
    """Where it is, now that it is known to be there."""
    match recipe.teachers[name]:
        case HTTPTeacher() as spec:
            return asyncio.run(_greet(name, spec, recipe, faculty))
        case RecordedTeacher():
            return f"recorded, {faculty.record(name).words()}"
        case FakeTeacher() | VLLMTeacher():
            folder = faculty.model(name).folder()
            if any(teacher == name and is_chat for _, teacher, is_chat in asked.forms(recipe)):
                ChatTokenizer(str(folder)).prompt_ids("Hello")  # the chat template answers
            return str(folder)


async def _greet(name: str, spec: HTTPTeacher, recipe: AnyRecipe, faculty: ClusterFaculty) -> str:
    """Ask an API for a few tokens, and to score them where it will be asked to: a run's first mistake is cheap."""
    hasty = spec.model_copy(update={"retries": min(1, spec.retries), "timeout_s": min(GREETING_S, spec.timeout_s)})
    answers = recipe.answers if isinstance(recipe, DataRecipe) else None
    sampling = answers.sampling if isinstance(answers, Answers) else Sampling()
    sampling = sampling.model_copy(update={"max_tokens": GREETING_TOKENS})
    hello = Request("greeting", "Hello, who are you?", spec.api != "completions", sampling)
    async with Api(address(name, hasty)) as api:
        teacher = faculty.hosted(name, api)
        try:
            said = await teacher.write(hello)
            if top_k := _scored(name, spec, recipe):
                ids = hello.prompt_ids(faculty.tokenizer(name))
                await teacher.score(score_request(faculty.identity(name), hello.id, ids, [len(ids) - 1], top_k))
        except RequestFailed as error:
            raise UserError(f"teachers.{name}.base_url: a first request to {spec.base_url} failed: {error}") from error
    return f"{spec.model} at {spec.base_url}, answered in {said.seconds:.1f} s"


def _scored(name: str, spec: HTTPTeacher, recipe: AnyRecipe) -> int:
    """How many candidates this API will be asked to score at a token; 0 where it only writes."""
    if isinstance(recipe, StudentRecipe) and name in signal_teachers(recipe.student):
        return max(train.top_k for train in recipe.student.trainings.values())
    return 1 if isinstance(recipe, Distil) and recipe.evaluate.teacher == name and spec.api == "vllm" else 0


def _check_prompts(recipe: AnyRecipe) -> None:
    """An API takes users' turns or documents, not both (vLLM's token ids are either)."""
    for where, name, is_chat in asked.forms(recipe):
        spec = recipe.teachers[name]
        if isinstance(spec, HTTPTeacher) and spec.api == ("completions" if is_chat else "chat"):
            wants = "a user's turn: `api: chat`" if is_chat else "a document to go on with: `api: completions`"
            raise UserError(
                f"{where}: what teachers.{name} is asked is {wants}, and its api is {spec.api!r} "
                "(instructions.prompt: tagged asks in users' turns, numbered in documents)"
            )


def _check_template(recipe: StudentRecipe, faculty: ClusterFaculty) -> None:
    folder = faculty.origin(recipe.student.init).folder()
    if not ChatTokenizer(str(folder), recipe.student.learn.template).closes_answers():
        raise UserError(
            f"student.init: the chat template of {folder} ends an answer with no special token, so a student could "
            "not learn to stop; start from a model whose template closes the assistant's turn"
        )


def _check_layers(recipe: StudentRecipe, faculty: ClusterFaculty) -> None:
    init = recipe.student.init
    if isinstance(init, PrunedStudent) and (header := faculty.model(init.teacher).header()):
        layers = header["num_hidden_layers"]
        if init.layers is not None and init.layers >= layers:
            raise UserError(f"student.init.layers: {init.layers} is not fewer than the teacher's {layers}")
        if init.remove is not None and (max(init.remove) >= layers or len(init.remove) >= layers):
            raise UserError(f"student.init.remove: the teacher's layers are 0 to {layers - 1}, and one must stay")


def _check_windows(recipe: AnyRecipe) -> None:
    for where, sampling, whose, engine in asked.of_engines(recipe):
        if sampling.max_tokens >= engine.max_model_len:
            raise UserError(
                f"{where}.sampling.max_tokens ({sampling.max_tokens}) leaves no room for a prompt in "
                f"{whose}.engine.max_model_len ({engine.max_model_len})"
            )


def _check_token_maps(recipe: StudentRecipe, faculty: ClusterFaculty) -> None:
    """A student that learns a teacher's distributions must have the teacher's tokens."""
    names = signal_teachers(recipe.student)
    if not names:
        return
    mine = ChatTokenizer(str(faculty.origin(recipe.student.init).folder())).vocabulary()
    for name in names:
        theirs = faculty.tokenizer(name).vocabulary()
        different = [t for t, id in theirs.items() if mine.get(t, id) != id or t not in mine]
        if different:
            raise UserError(
                f"student.init and teachers.{name} have different tokens ({len(different):,} of {len(theirs):,}, for "
                f"example {different[0]!r}), so the teacher's distributions mean nothing to the student. Take a "
                "student of the same family, or drop 'kd' from student.train.losses"
            )


def _check_disk() -> None:
    if (free := shutil.disk_usage(".").free / GIB) < LEAST_DISK_GIB:
        raise UserError(f"only {free:.1f} GiB of disk are free here; a run needs about {LEAST_DISK_GIB}")
