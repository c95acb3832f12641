"""One probe that is several processes, each with a part of the student: for one whose moments fit on no single GPU.

Knows Ray's actors and placement groups, and how processes meet in a group of torch's. Does not know what a probe
measures: all are told to do the same, and as they compute the same (see `sharded.py`), the first one's answer is it.
"""

import socket
from typing import Any

from cluster.placement import alone
from pipelines.core.records import Dropped, Influence, InfluenceMethod, TrainExample
from pipelines.generate.teacher import TeacherGone
from pipelines.influence.job import ProbeJob


class Member:
    """One of the processes."""

    def __init__(self, job: ProbeJob) -> None:
        self._job = job

    def address(self) -> str:
        """Where the others can meet this one."""
        import ray.util

        host = ray.util.get_node_ip_address()
        with socket.socket() as free:
            free.bind((host, 0))
            return f"tcp://{host}:{free.getsockname()[1]}"

    def join(self, address: str, rank: int) -> None:
        import torch
        import torch.distributed as dist

        backend = "nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, init_method=address, rank=rank, world_size=self._job.config.shards)
        self._probe = self._job.probe()

    def influence(self, example: TrainExample, method: InfluenceMethod) -> Influence | Dropped:
        return self._probe.influence(example, method)

    def check(self) -> None:
        self._probe.check()


class Gang:
    """See probe.Probe, of which this has what is asked of one that is ready."""

    def __init__(self, job: ProbeJob) -> None:
        """Raises TeacherGone where a process dies meanwhile, and what a probe's own making raises."""
        import ray
        from ray.util import placement_group
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        # It ends with the process that asks, as the actors do.
        group = placement_group([dict(job.bundle)] * job.config.shards, strategy=job.strategy)
        kind = ray.remote(Member).options(
            **alone(job.bundle), scheduling_strategy=PlacementGroupSchedulingStrategy(group)
        )
        self._members = [kind.remote(job) for _ in range(job.config.shards)]
        address = ray.get(self._members[0].address.remote())
        self._all_done([member.join.remote(address, rank) for rank, member in enumerate(self._members)])

    def influence(self, example: TrainExample, method: InfluenceMethod) -> Influence | Dropped:
        found: Influence | Dropped = self._all_done([each.influence.remote(example, method) for each in self._members])
        return found

    def check(self) -> None:
        self._all_done([each.check.remote() for each in self._members])

    def _all_done(self, told: list[Any]) -> Any:
        """The first one's answer, once all have one. Where one fails the others may wait for it for ever."""
        import ray
        from ray.exceptions import OutOfMemoryError, RayActorError

        waiting = told
        try:
            while waiting:
                done, waiting = ray.wait(waiting)
                ray.get(done)
        except (RayActorError, OutOfMemoryError) as error:
            raise TeacherGone(f"a process of the probe died: {error}") from error
        return ray.get(told[0])
