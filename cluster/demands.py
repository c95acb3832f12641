"""What a recipe asks of a profile's pools, how much of it at one time, and whether they can ever give it.

Knows which sections of a recipe become processes on a cluster. Counts processes, GPUs and CPUs; whether a model fits
into a GPU's memory it does not know. Starts nothing.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from cluster.profile import Profile, RoleName
from cluster.room import Group, Process, placed
from pipelines.core.config import Engine, GivenStudent, LikelihoodJudge, Probing, VLLMTeacher
from pipelines.core.errors import UserError
from pipelines.core.recipe import (
    STUDENT,
    Compare,
    Distil,
    Montessori,
    Recipe,
    StudentRecipe,
    TinyLLM,
    Tune,
    signal_teachers,
)

KEPT = ""  # engines that stay, once they are started, while other work comes and goes


@dataclass(frozen=True)
class Demand:
    """Groups of like processes: so many at least, or the work waits for ever, and so many at most."""

    key: str  # of the recipe
    role: RoleName
    processes: int = 1  # of each group, where there are GPUs
    least: int = 1
    most: int = 1
    when: str = KEPT  # what is asked for `when` the same comes is asked for at one time, beside what is kept
    served: bool = False  # by Ray Serve, whose replica takes one CPU more
    split: bool = True  # also into several processes where there is no GPU, as an engine is not
    needs_gpu: bool = True

    def group(self, profile: Profile) -> Group:
        pool, strategy = profile.pool(self.role), profile.role(self.role).placement
        gpus = 1 if pool.gpus and self.needs_gpu else 0
        count = self.processes if gpus or self.split else 1
        first = Process(2 if self.served else 1, gpus)
        return Group((first, *[Process(1, gpus)] * (count - 1)), strategy)

    def words(self, profile: Profile) -> str:
        """What, how often, and how much each time."""
        often = f"{self.least} to {self.most}" if self.most > self.least else str(self.least)
        return f"{self.key} {often} × {_units(profile, self.role, self.group(profile))}"


def of(recipe: Recipe) -> list[Demand]:
    """All that the recipe asks for, engines before the pools of them."""
    found = list(_of_teachers(recipe))
    if isinstance(recipe, StudentRecipe):
        found += _of_student(recipe)
    return found


def in_words(recipe: Recipe, profile: Profile) -> list[str]:
    """A line for each role that is asked for, and what is asked of each pool at one time. UserError where it cannot
    be given."""
    check(recipe, profile)
    demands = of(recipe)
    lines = []
    for role in dict.fromkeys(demand.role for demand in demands):
        pool = profile.role(role).pool
        asked = ", ".join(dict.fromkeys(d.words(profile) for d in demands if d.role == role))
        lines.append(f"{role}, on pool {pool!r} ({profile.pool(role).words}): {asked}")
    turns = take_turns(recipe, profile)
    for name in dict.fromkeys(profile.role(demand.role).pool for demand in demands):
        lines.append(_at_one_time(demands, name, profile, turns))
    if turns:
        lines.append("served engines make way for each other and for other work: there is no room for all at one time")
    return lines


def check(recipe: Recipe, profile: Profile, section: str = "") -> None:
    """UserError where a pool, as large as it may be, has no room for something that the recipe, or this section of it,
    asks of it alone."""
    for demand in (d for d in of(recipe) if d.key.startswith(section)):
        if placed([demand.group(profile)] * demand.least, profile.pool(demand.role)) < demand.least:
            raise UserError(_never(demand, profile))


def check_served(models: Iterable[tuple[str, RoleName, Engine, int]], profile: Profile) -> None:
    """UserError where there is no room for (name, role, engine, replicas) of all models together."""
    found = [_engine(name, role, engine, least=count) for name, role, engine, count in models]
    if not _fit(found, profile):
        asked = ", ".join(demand.words(profile) for demand in found)
        raise UserError(
            f"the profile has no room for all models at once ({asked}); serve some of them with --model NAME, or start "
            "some when they are first asked: --replicas NAME=0:1"
        )


def take_turns(recipe: Recipe, profile: Profile) -> bool:
    """Whether engines cannot stay while others, or training, have their turn."""
    return not all(_fit(moment, profile) for moment in _moments(of(recipe)))


def role_of(recipe: Recipe, teacher: str) -> RoleName:
    """What a teacher does, by name; the student itself is one too, where it answers as teachers do."""
    if teacher == STUDENT and teacher not in recipe.teachers:
        return "student"
    is_compared = isinstance(recipe, Compare) and teacher in recipe.answers.models
    is_judge = isinstance(recipe, Compare) and recipe.judge is not None and teacher == recipe.judge.teacher
    return "judge" if is_judge and not is_compared else "teacher"


def _of_teachers(recipe: Recipe) -> Iterator[Demand]:
    judge = recipe.judge if isinstance(recipe, Compare) else None
    if isinstance(judge, LikelihoodJudge):
        yield Demand("judge.teacher", "student", when="likelihoods")
    for name, spec in recipe.teachers.items():
        if not isinstance(spec, VLLMTeacher) or not _has_engines(recipe, name):
            continue
        key, role = f"teachers.{name}", role_of(recipe, name)
        if not isinstance(recipe, Tune):
            yield _engine(f"{key}.engine", role, spec.engine)
        if isinstance(recipe, Montessori) and name == recipe.teacher:
            yield _engine("rounds (the tuned engine)", role, spec.engine)  # beside the one that it was
        yield Demand(
            f"{key}.pool", role, spec.engine.gpus, spec.pool.min, spec.pool.max, when=f"{key}.pool", split=False
        )


def _has_engines(recipe: Recipe, teacher: str) -> bool:
    match recipe:
        case Tune():
            return recipe.student.train.needs_signals and teacher in signal_teachers(recipe.student)
        case Compare():
            return teacher in recipe.answers.models or not isinstance(recipe.judge, LikelihoodJudge)
    return True


def _of_student(recipe: StudentRecipe) -> Iterator[Demand]:
    student = recipe.student
    if not isinstance(student.init, GivenStudent):
        yield Demand("student.init", "cpu", when="student.init", needs_gpu=False)
    trainings = dict(student.trainings)
    if isinstance(recipe, Montessori):
        trainings |= {"rounds.warm_up.train": recipe.rounds.warm_up.train, "rounds.tune": recipe.rounds.tune}
    for key, train in trainings.items():
        yield Demand(f"{key}.workers", "student", train.workers, when=key)
    if isinstance(recipe, Distil | TinyLLM):
        yield _engine("student.engine", "student", student.engine, when="evaluate")
    if isinstance(recipe, Distil) and recipe.evaluate.before == "served":
        yield _engine("evaluate.before", "student", student.engine, when="evaluate")
    if rounds := student.on_policy:
        key = "student.on_policy.pool"
        yield Demand(key, "student", student.engine.gpus, rounds.pool.min, rounds.pool.max, when=key, split=False)
    if student.probe:
        yield _probes("student.probe", student.probe)
    if isinstance(recipe, Montessori):
        yield _probes("rounds.probe", recipe.rounds.probe)


def _engine(key: str, role: RoleName, engine: Engine, least: int = 1, when: str = KEPT) -> Demand:
    return Demand(key, role, engine.gpus, least, least, when, served=True, split=False)


def _probes(key: str, config: Probing) -> Demand:
    return Demand(f"{key}.pool", "probe", config.shards, config.pool.min, config.pool.max, when=key)


def _moments(demands: Iterable[Demand]) -> list[list[Demand]]:
    """What is asked for at one time, where engines stay."""
    each = list(demands)
    kept = [demand for demand in each if demand.when == KEPT]
    times = dict.fromkeys(demand.when for demand in each if demand.when != KEPT)
    return [[*kept, *(d for d in each if d.when == when)] for when in times] or [kept]


def _fit(demands: Iterable[Demand], profile: Profile) -> bool:
    """Whether all of them have room together, at their least."""
    groups: dict[str, list[Group]] = {}
    for demand in demands:
        groups.setdefault(profile.role(demand.role).pool, []).extend([demand.group(profile)] * demand.least)
    return all(placed(asked, profile.pools[name]) == len(asked) for name, asked in groups.items())


def _at_one_time(demands: list[Demand], name: str, profile: Profile, turns: bool) -> str:
    """Of one pool, in its GPUs or, where it has none, its CPUs."""
    moments = [[demand] for demand in demands] if turns else _moments(demands)
    of_pool = [[d for d in moment if profile.role(d.role).pool == name] for moment in moments]
    pool = profile.pools[name]
    unit = "GPU" if pool.gpus else "CPU"

    def size(demand: Demand, times: int) -> int:
        return times * sum(p.gpus if pool.gpus else p.cpus for p in demand.group(profile).processes)

    least = max(sum(size(d, d.least) for d in moment) for moment in of_pool)
    most = max(sum(size(d, d.most) for d in moment) for moment in of_pool)
    has = pool.max * (pool.gpus or pool.cpus)
    asked = f"{least} to {most}" if most > least else str(least)
    more = "; what is more waits until others are done" if most > has else ""
    return f"pool {name!r}: {asked} {unit} at one time, of {has}{more}"


def _never(demand: Demand, profile: Profile) -> str:
    name, pool, group = profile.role(demand.role).pool, profile.pool(demand.role), demand.group(profile)
    where = {"STRICT_PACK": " on one node", "STRICT_SPREAD": ", each on a node of its own"}.get(group.strategy, "")
    return (
        f"{demand.key} asks for {demand.least} × {_units(profile, demand.role, group)}{where} at once, as the role "
        f"{demand.role!r} on the profile's pool {name!r}, which has {pool.words} at most: this would wait for ever. "
        f"Ask for less, or give the role a larger pool (pools.{name}, roles.{demand.role} of the profile)"
    )


def _units(profile: Profile, role: RoleName, group: Group) -> str:
    if gpus := sum(process.gpus for process in group.processes):
        return f"{gpus} GPU"
    return f"{sum(process.cpus for process in group.processes)} CPU"
