"""What `--help`, `plan` and a mistake in a recipe need imports nothing heavy: looked at in a fresh process."""

import subprocess
import sys

import pytest

HEAVY = {"ray", "torch", "vllm", "transformers", "deepspeed", "datasets"}

CORE = """
import pkgutil, pipelines.core
for module in pkgutil.iter_modules(pipelines.core.__path__):
    __import__(f"pipelines.core.{module.name}")
"""
MAIN = """
import runpy
try:
    runpy.run_module("pipelines.cli", run_name="__main__")
except SystemExit as ended:
    assert not ended.code
"""
HELP = f"sys.argv = ['tutelage', '--help']\n{MAIN}"
RUN_HELP = f"sys.argv = ['tutelage', 'run', '--help']\n{MAIN}"
PLAN = "from pipelines.runs import api"
EXPORT = "from pipelines.runs import export"
SUBMIT = "from pipelines.runs import submitted"


@pytest.mark.parametrize(
    ("code", "shows"),
    [(CORE, ""), (HELP, "quickstart"), (RUN_HELP, "--max-tokens"), (PLAN, ""), (EXPORT, ""), (SUBMIT, "")],
    ids=["core", "help", "run --help", "plan", "export", "submit"],
)
def test_nothing_heavy_is_imported(code: str, shows: str) -> None:
    look = f"import sys\n{code}\nheavy = {HEAVY} & set(sys.modules)\nassert not heavy, heavy"
    ended = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    assert shows in ended.stdout
