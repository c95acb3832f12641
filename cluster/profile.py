"""What a cluster is made of, and which of its nodes do what: pools of like nodes, and the pool of each role.

Knows nodes, roles and the names by which Ray tells pools apart. Does not know recipes, which name no machines, nor what
is asked of a pool (`demands.py`).
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from pipelines.core import recipe_file
from pipelines.core.config import Strict
from pipelines.core.errors import UserError

SHIPPED = Path(__file__).parent / "profiles"
SHARE = 0.001  # of its pool's resource, that each process takes: a mark, not a measure

RoleName = Literal["teacher", "student", "probe", "judge", "cpu"]
Name = Annotated[str, Field(pattern=r"^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$")]  # as Kubernetes takes them
Strategy = Literal["PACK", "STRICT_PACK", "SPREAD", "STRICT_SPREAD"]


class Pool(Strict):
    """Nodes of one kind, between whose bounds the autoscaler keeps their number."""

    min: int = Field(0, ge=0, le=10_000)
    max: int = Field(1, ge=1, le=10_000)
    cpus: int = Field(ge=1, le=1024, description="of each node, that Ray may give away")
    gpus: int = Field(0, ge=0, le=64, description="of each node")
    accelerator_type: str | None = Field(
        None, pattern=r"^[A-Za-z0-9._-]+$", description="as Ray calls its GPUs: H100, A100-80G, L4, ..."
    )
    memory_gib: float = Field(8, ge=1, description="of each node")
    spot: bool = Field(False, description="machines that are cheap and may be taken away at any time")
    node_labels: dict[str, str] = Field(default={}, description="Kubernetes labels that its nodes bear")
    machine: str | None = Field(None, description="the cloud's name of such a machine, for `ray up`")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min ({self.min}) is above max ({self.max})")
        if self.accelerator_type and not self.gpus:
            raise ValueError("accelerator_type is of GPUs, and there are none (gpus)")
        return self

    @property
    def words(self) -> str:
        """How many nodes, and what each has."""
        bounds = f"{self.min} to {self.max} nodes" if self.max > 1 else "1 node" if self.min else "0 or 1 node"
        gpus = f", {self.gpus} {self.accelerator_type or 'GPU'}" if self.gpus else ""
        return f"{bounds}{' (spot)' if self.spot else ''} of {self.cpus} CPU{gpus}"


class Head(Strict):
    """The node that knows the cluster. Nothing but a run's driver is placed on it."""

    cpus: int = Field(4, ge=1, le=1024)
    memory_gib: float = Field(16, ge=1)
    machine: str | None = None


class Role(Strict):
    """Where a kind of work is done. A pool's name alone will do."""

    pool: Name
    placement: Strategy = Field(
        "PACK", description="of the processes that are one engine, one training or one probe; STRICT_PACK: on one node"
    )


def _named(value: Any) -> Any:
    return {"pool": value} if isinstance(value, str) else value


AnyRole = Annotated[Role, BeforeValidator(_named)]


class Roles(Strict):
    """Every kind of work that a recipe asks for."""

    teacher: AnyRole = Field(description="engines of teachers")
    student: AnyRole = Field(description="all training, the student's engines, and likelihoods on held-out rows")
    probe: AnyRole = Field(description="what measures influence")
    judge: AnyRole = Field(description="engines of teachers that do nothing but judge")
    cpu: AnyRole = Field(description="what needs no GPU: making the student's first weights")


class Profile(Strict):
    """A cluster."""

    head: Head = Head()
    pools: dict[Name, Pool] = Field(min_length=1)
    roles: Roles

    @model_validator(mode="after")
    def _pools_are_there(self) -> Self:
        for name, role in self.roles:
            if role.pool not in self.pools:
                raise ValueError(f"roles.{name} names the pool {role.pool!r}; the pools are {sorted(self.pools)}")
        return self

    def role(self, name: RoleName) -> Role:
        role: Role = getattr(self.roles, name)
        return role

    def pool(self, role: RoleName) -> Pool:
        """Where work of this role is done."""
        return self.pools[self.role(role).pool]

    @property
    def is_one_machine(self) -> bool:
        """Whether a single node is all of it, so that the machine of the driver can be that node."""
        return len(self.pools) == 1 and all(pool.max == 1 for pool in self.pools.values())


def resource(pool: str) -> str:
    """The Ray resource by which the nodes of a pool are known; each of them has one whole of it."""
    return f"pool-{pool}"


def load(name: str | Path) -> Profile:
    """A profile by file or shipped name. UserError names key, file and line."""
    return recipe_file.read(_find(name), "profile", Profile, Profile.model_validate)


def shipped() -> list[str]:
    return sorted(file.stem for file in SHIPPED.glob("*.yaml"))


def _find(name: str | Path) -> Path:
    for file in (Path(name), SHIPPED / f"{name}.yaml"):
        if file.is_file():
            return file
    names = ", ".join(shipped())
    raise UserError(f"there is no profile {str(name)!r}; give a YAML file, or one of the shipped: {names}")
