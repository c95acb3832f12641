"""Influence as a stage: a pool of probes scores every row, each score committed as it comes.

Knows which rows are measured both ways, what the manifest says, and how a probe is placed on the cluster. How shards
are run, and what becomes of a row that kills its engine, is as for teachers (`generate/`).
"""

import random
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from cluster.placement import alone
from cluster.session import Session
from pipelines.core.config import Probing
from pipelines.core.hashing import key_of
from pipelines.core.parts import rows_of
from pipelines.core.records import Influence, TrainExample
from pipelines.core.stage import Done, Outcome, StageRun
from pipelines.generate.faculty import run_shards
from pipelines.generate.pool import run_on_pool
from pipelines.generate.teacher import TeacherId
from pipelines.generate.work import ShardRun
from pipelines.influence.agreement import of_rows, with_loss
from pipelines.influence.job import ProbeJob
from pipelines.influence.prober import Prober
from pipelines.influence.work import InfluenceWork

SILENCE_S = 3600.0  # a single row that takes longer hangs


def identity(config: Probing, student: Done, reference: Done) -> TeacherId:
    """Who is asked: one student, which of its weights are stepped, one reference set, and how its loss is divided."""
    digests = (student.manifest["digest"], reference.manifest["digest"])
    return TeacherId("probe", key_of("probe 2", *digests, config.normalise, config.every_layer))


def run(config: Probing, seed: int, name: str, open_session: Callable[[], Session], run: StageRun) -> Outcome:
    """Score the rows of the input `source` by the warm `student` and the examples of `reference`."""
    source, student, reference = (run.inputs[role] for role in ("source", "student", "reference"))
    checked = _checked(config, seed, source) if config.method != "exact" else frozenset()
    who = identity(config, student, reference)

    def over_shards(shards: ShardRun, rows: int) -> float:
        session = open_session()
        job = ProbeJob(student.folder, reference.folder, config, session.threads, session.bundle, session.strategy)
        asks = resources(config, session)
        return run_on_pool(shards, partial(Prober, job), config.pool, asks, run.progress, SILENCE_S)

    work = InfluenceWork(who, config.method, checked)
    outcome = run_shards(work, who, name, source.folder, run, over_shards)
    agreed = of_rows(rows_of(run.folder, Influence))
    by_loss = with_loss(rows_of(run.folder, Influence, lambda row: row.method == config.method))
    if agreed and (doubt := agreed.doubt(config.self_check.spearman)):
        run.progress.note(doubt)
    facts = {"method": config.method, "self_check": agreed and asdict(agreed), "by_loss": by_loss}
    return replace(outcome, facts={**outcome.facts, **facts})


def resources(config: Probing, session: Session) -> dict[str, Any]:
    """What a probe asks of Ray; one that is several processes asks for them itself."""
    env = {"env_vars": {"OMP_NUM_THREADS": str(session.threads)}}
    return {**alone(session.bundle if config.shards == 1 else session.label), "runtime_env": env}


def _checked(config: Probing, seed: int, source: Done) -> frozenset[str]:
    """The rows that are measured both ways: which ones, the seed decides, and not the rows' order."""
    ids = sorted(row.id for row in rows_of(source.folder, TrainExample))
    return frozenset(random.Random(f"{seed}/self-check").sample(ids, min(config.self_check.rows, len(ids))))
