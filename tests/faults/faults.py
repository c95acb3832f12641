"""What can go wrong with a run on a cluster, as a table: when it does, and what it is.

Knows which processes do what, by the names that Ray gives them. Does not know what must hold afterwards.
"""

from collections.abc import Callable
from dataclasses import dataclass

from drill import Drill

ACTOR, TRAINER = "PoolActor", "RayTrainWorker"
STEPS_BEFORE = 20  # of training, when something happens in its middle


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong, once."""

    name: str
    stage: str  # must not be done yet
    comes: Callable[[Drill], bool]
    strike: Callable[[Drill], None]
    settings: tuple[str, ...] = ()


def teacher_answers(drill: Drill) -> bool:
    """Some of it is kept, and not all."""
    return bool(drill.files("signals-*/*.parquet"))


def is_training(drill: Drill) -> bool:
    return len(drill.steps()) >= STEPS_BEFORE


def is_done(stage: str) -> Callable[[Drill], bool]:
    return lambda drill: bool(drill.files(f"{stage}-*/manifest.json"))


def kill(title: str) -> Callable[[Drill], None]:
    return lambda drill: drill.nodes.workers(title)[0].kill()


def lose_node_of(title: str) -> Callable[[Drill], None]:
    return lambda drill: drill.nodes.lose(drill.nodes.node_of(drill.nodes.workers(title)[0]))


def take_node_of(title: str) -> Callable[[Drill], None]:
    """With a notice; and as soon as it has been answered with a checkpoint, which Ray Train lists when it is whole."""

    def strike(drill: Drill) -> None:
        node = drill.nodes.node_of(drill.nodes.workers(title)[0])
        drill.nodes.notice(node)
        drill.until(
            lambda: any("checkpoint_" in f.read_text() for f in drill.files("student-*/train-*/*snapshot.json"))
        )
        drill.nodes.lose(node)

    return strike


USUAL = (Fault("a node of the pool is lost", "soft_targets_main", teacher_answers, lose_node_of(ACTOR)),)
LONG = (  # minutes each, and most have a test on one machine, too
    Fault("the training's node is lost", "student", is_training, lose_node_of(TRAINER)),
    Fault("an actor of the pool is killed", "soft_targets_main", teacher_answers, kill(ACTOR)),
    Fault("the driver is killed while a teacher answers", "soft_targets_main", teacher_answers, Drill.kill_driver),
    Fault("the driver is killed between two stages", "student", is_done("soft_targets_main"), Drill.kill_driver),
    Fault("the driver is killed in training", "student", is_training, Drill.kill_driver),
    Fault("the training's worker is killed", "student", is_training, kill(TRAINER)),
    Fault(
        "the training's node is taken away with a notice", "student", is_training, take_node_of(TRAINER),
        settings=("student.train.checkpoint_every=1000",),
    ),
)  # fmt: skip
