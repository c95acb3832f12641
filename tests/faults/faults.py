"""What can go wrong with a run on a cluster, as a table: when it does, and what it is.

Knows which processes do what, by the names that Ray gives them. Does not know what must hold afterwards.
"""

from collections.abc import Callable
from dataclasses import dataclass

from drill import Drill

ACTOR, TRAINER = "PoolActor", "RayTrainWorker"
STEPS_BEFORE = 12  # of training, when something happens in its middle


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong, once."""

    name: str
    comes: Callable[[Drill], bool]
    strike: Callable[[Drill], None]
    settings: tuple[str, ...] = ()


def teachers_answer(drill: Drill) -> bool:
    """Some of it is committed, and not all."""
    return bool(drill.files("signals-*/*.parquet") and drill.nodes.workers(ACTOR))


def is_training(drill: Drill) -> bool:
    return len(drill.steps()) >= STEPS_BEFORE


def is_done(stage: str) -> Callable[[Drill], bool]:
    return lambda drill: bool(drill.files(f"{stage}-*/manifest.json"))


def kill(title: str) -> Callable[[Drill], None]:
    return lambda drill: drill.nodes.workers(title)[0].kill()


def lose_node_of(title: str) -> Callable[[Drill], None]:
    def strike(drill: Drill) -> None:
        nodes = drill.nodes
        nodes.lose(nodes.node_of(nodes.workers(title)[0]))

    return strike


def take_node_of(title: str) -> Callable[[Drill], None]:
    """With a notice, and no sooner than it has been answered with a checkpoint."""

    def strike(drill: Drill) -> None:
        nodes = drill.nodes
        node = nodes.node_of(nodes.workers(title)[0])
        nodes.notice(node)
        drill.until(
            lambda: (
                drill.files("student-*/train-*/**/.metadata.json") or drill.files("student-*/train-*/checkpoint_*/*")
            )
        )
        nodes.lose(node)

    return strike


FAULTS = [
    Fault("pool's actor killed", teachers_answer, kill(ACTOR)),
    Fault("pool's node lost", teachers_answer, lose_node_of(ACTOR)),
    Fault("driver killed while teachers answer", teachers_answer, Drill.kill_driver),
    Fault("driver killed between stages", is_done("soft_targets"), Drill.kill_driver),
    Fault("driver killed in training", is_training, Drill.kill_driver),
    Fault("training's worker killed", is_training, kill(TRAINER)),
    Fault("training's node lost", is_training, lose_node_of(TRAINER)),
    Fault(
        "training's node taken away with a notice", is_training, take_node_of(TRAINER),
        ("student.train.checkpoint_every=1000",),
    ),
]  # fmt: skip
