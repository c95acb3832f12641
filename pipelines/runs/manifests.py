"""The files that start a profile's cluster: on Kubernetes, or on virtual machines.

Knows which files there are. What is in them is `cluster.kuberay`'s and `cluster.vms`'s.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from cluster import kuberay, vms
from cluster.kuberay import RUNS, SERVE_PORT
from cluster.profile import Profile
from pipelines.core.config import Engine
from pipelines.core.errors import UserError
from serving import deployment
from serving.deployment import Deployment
from serving.door import EVERY, Door
from serving.served import Served

HEADER = "# Written by `tutelage manifests`; change the profile, and write it again.\n"


def files(profile: Profile, image: str = kuberay.IMAGE, served: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Texts by file name. Without `served` the endpoints are an example, whose paths are to be changed.

    The file of `ray up` is among them where the profile names machines. UserError where it names only some of them.
    """
    made = {
        "raycluster.yaml": kuberay.cluster(profile, image),
        "rayjob.yaml": kuberay.job(profile, image),
        "rayservice.yaml": kuberay.service(profile, served or example(profile), image),
    }
    if any([profile.head.machine, *(pool.machine for pool in profile.pools.values())]):
        made["vms.yaml"] = vms.config(profile, image)
    return {name: HEADER + yaml.dump(content, Dumper=_Dumper, sort_keys=False) for name, content in made.items()}


def write(profile: Profile, image: str, serve_file: Path | None, out: Path) -> list[Path]:
    """The files' paths. `serve_file` is one of `tutelage serve RUN --config`."""
    texts = files(profile, image, _served(serve_file) if serve_file else None)
    out.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (out / name).write_text(text, encoding="utf-8")
    return [out / name for name in texts]


def example(profile: Profile) -> dict[str, Any]:
    """A student, for clients that have a key."""
    student = Served("student", Path(RUNS) / "student-KEY" / "model", "DIGEST", Engine())
    door = Door(EVERY, Path(RUNS) / "keys.json")
    return deployment.config(Deployment(models=(student,), door=door, profile=profile), SERVE_PORT)


def _served(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"--serve {file}: {error}") from error
    if not isinstance(content, dict) or not {"http_options", "applications"} <= content.keys():
        raise UserError(f"--serve {file}: give a file of `tutelage serve RUN --config FILE --host {EVERY}`")
    return content


class _Dumper(yaml.SafeDumper):
    """Writes a part that stands twice out twice, and texts of several lines as such."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
