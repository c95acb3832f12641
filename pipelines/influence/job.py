"""All that a process needs to be a probe, or one of the processes that are one together.

Knows the folders that it is read from. Does not know who asks, or how many processes there are.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cluster.cache import fetched
from cluster.placement import Bundle
from cluster.profile import Strategy
from pipelines.core.config import Probing
from pipelines.core.parts import rows_of
from pipelines.core.records import TrainExample
from pipelines.core.storage import Folder

if TYPE_CHECKING:
    from pipelines.influence.probe import Probe


@dataclass(frozen=True)
class ProbeJob:
    """A finished student, a reference set, and what each process has of the machine."""

    student: Folder  # its stage's, with `model/` and `warm/`; each node has it from there once
    reference: Folder  # a stage of TrainExamples
    config: Probing
    threads: int
    bundle: Bundle = field(default_factory=lambda: {"CPU": 1})  # what each process asks of a node
    strategy: Strategy = "PACK"  # how they lie, where they are several

    def probe(self) -> "Probe":
        """Ready to measure, which takes four passes over the reference set. Processes of a group read their parts."""
        import torch

        from pipelines.influence.probe import Probe
        from pipelines.influence.reference import Reference
        from pipelines.influence.state import Warm

        torch.set_num_threads(self.threads)
        device, config = "cuda" if torch.cuda.is_available() else "cpu", self.config
        warm = Warm.read(fetched(self.student), device, config.every_layer, is_sharded=config.shards > 1)
        return Probe(warm, Reference(list(rows_of(self.reference, TrainExample)), config.normalise))
