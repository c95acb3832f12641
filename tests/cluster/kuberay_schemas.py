"""Kubernetes' schemas as JSON schemas that refuse what they do not know, as `kubectl apply --validate=strict` does."""

from pathlib import Path
from typing import Any

import pytest
import yaml

FOLDER = Path(__file__).parents[2].parent / "shared" / "data" / "kuberay"


def of(kind: str) -> dict[str, Any]:
    """The schema of KubeRay's `ray.io/v1` resource of this kind. Skips where the files are not at hand."""
    file = FOLDER / f"ray.io_{kind.lower()}s.yaml"
    if not file.is_file():
        pytest.skip(f"KubeRay's definition of {kind} is not in {FOLDER}")
    with file.open() as handle:
        definition = yaml.load(handle, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    (version,) = (each for each in definition["spec"]["versions"] if each["name"] == "v1")
    schema: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    # What every resource has is Kubernetes' own; here a name is enough.
    schema["properties"]["metadata"] = {"type": "object", "properties": {"name": {"type": "string"}}}
    return _strict(schema)


def _strict(schema: Any) -> Any:
    """Objects take the fields that are named and no others, but where anything is allowed."""
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {
        key: {name: _strict(each) for name, each in value.items()} if key == "properties" else _strict(value)
        for key, value in schema.items()
    }
    is_open = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if "properties" in schema and not is_open:
        made["additionalProperties"] = False
    return made
