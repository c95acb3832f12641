"""The container recipe, which is linted here and not built."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILE = ROOT / "cluster" / "Dockerfile"


def test_hadolint_has_nothing_to_say() -> None:
    linter = shutil.which("hadolint", path=Path(sys.executable).parent) or shutil.which("hadolint")
    if linter is None:
        pytest.skip("hadolint is not installed (`make setup` brings it)")
    said = subprocess.run([linter, str(FILE)], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout + said.stderr


def test_it_runs_as_nobody_in_particular_and_holds_no_secret() -> None:
    lines = FILE.read_text().splitlines()
    assert [line for line in lines if line.startswith("USER ")] == ["USER 1000"]
    told = [line.split() for line in lines if line.startswith(("ARG ", "ENV "))]
    names = {word.partition("=")[0] for line in told for word in line[1:]}
    assert names == {"TUTELAGE_CACHE", "HF_HOME"}


def test_what_it_copies_is_not_kept_from_it() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copies = [
        line.split()[1:-1]
        for line in FILE.read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
    ]
    wanted = {source.split("/")[0] for sources in copies for source in sources}
    assert wanted == kept
    assert all((ROOT / name).exists() for name in kept)


def test_it_installs_the_version_that_the_project_has() -> None:
    import tomllib

    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"tutelage[gpu]=={version}'" in FILE.read_text()
