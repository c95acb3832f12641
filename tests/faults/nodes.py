"""A cluster of several raylets on this machine, whose nodes can be lost.

Knows raylets and the processes below them. Does not know runs. The head, which drivers join, has no CPU to give, so all
work lies on the others. Ray's own `Cluster` keeps them, in a process of its own that is told what to do by lines.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil

CPUS = 2
PREEMPTION_S = 600.0  # from a notice to the node's end, as the notice has it


@dataclass(frozen=True)
class Node:
    """A node that is there. `pid` is its raylet's."""

    id: str
    pid: int


class Nodes:
    """The other end of `serve`."""

    def __init__(self, process: "subprocess.Popen[str]", environment: Mapping[str, str]) -> None:
        self._process, self.environment = process, environment
        self.address: str = self._answer()
        self._nodes: list[Node] = []

    def ask(self, *words: str) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(words) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        """The one line that it says to each that it is told."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the cluster has ended"
        return json.loads(line)

    def add(self) -> None:
        self._nodes.append(Node(**self.ask("add")))

    def notice(self, node: Node) -> None:
        """Tell the cluster that the node will be taken away."""
        self.ask("drain", node.id)

    def lose(self, node: Node) -> None:
        """All of its processes at once, as when a machine goes. Another takes its place."""
        raylet = psutil.Process(node.pid)
        for process in [raylet, *raylet.children(recursive=True)]:
            process.kill()
        self._nodes.remove(node)
        self.add()

    def node_of(self, process: psutil.Process) -> Node:
        above = {parent.pid for parent in process.parents()}
        return next(node for node in self._nodes if node.pid in above)

    def workers(self, title: str) -> list[psutil.Process]:
        """The live processes below the nodes that Ray calls so."""
        below = [p for node in self._nodes for p in psutil.Process(node.pid).children(recursive=True)]
        return [process for process in below if title in _title(process)]


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


@contextmanager
def cluster(nodes: int) -> Iterator[Nodes]:
    """A head and so many nodes, for as long as this lasts."""
    with tempfile.TemporaryDirectory(prefix="ray-") as apart:  # Ray's sockets want a short path
        environment = {
            **os.environ,
            "RAY_TMPDIR": apart,
            "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "0.2",
            "OMP_WAIT_POLICY": "PASSIVE",  # there is more to do here than cores to do it
        }
        process = subprocess.Popen(
            [sys.executable, __file__], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started = Nodes(process, environment)
        for _ in range(nodes):
            started.add()
        yield started
        process.communicate(timeout=120)


def serve() -> None:
    """Start a head, tell its address, and do what each line says until there is no more."""
    from ray._raylet import GcsClient
    from ray.cluster_utils import Cluster
    from ray.core.generated.autoscaler_pb2 import DrainNodeReason

    say = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # Ray prints, too
    made = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "dashboard_port": None, "dashboard_agent_listen_port": None},
    )
    client = GcsClient(address=made.address)
    print(json.dumps(made.address), file=say, flush=True)
    for line in sys.stdin:
        match line.split():
            case ["add"]:
                node = made.add_node(num_cpus=CPUS)
                (raylet,) = node.all_processes["raylet"]
                told: Any = {"id": node.node_id, "pid": raylet.process.pid}
            case ["drain", id]:
                deadline = int(1000 * (time.time() + PREEMPTION_S))
                preemption = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
                told, why = client.drain_node(id, preemption, "a test", deadline)
                assert told, why
        print(json.dumps(told), file=say, flush=True)
    made.shutdown()


if __name__ == "__main__":
    serve()
