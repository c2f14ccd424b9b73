"""Running an exec credential plugin as `kubectl` does (client.authentication.k8s.io). How it is called is the client's.

The client's own way to run it would leave it our standard input whatever that is, so that a plugin that reads it, for
instance one that calls `ssh`, takes away what a script has for itself.
"""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

from kubernetes.config import ConfigException
from kubernetes.config.exec_provider import ExecProvider

_STDIN, _STDERR = 0, 2


def run_plugin(settings: Any, directory: str, cluster: Any) -> Any:
    """What a plugin answers: the `status` of its ExecCredential.

    It may ask the user, if there is one: it gets our standard input only where that is a terminal, and so our standard
    error; elsewhere what it says there is dropped, since it may hold credentials.

    Args:
        settings: The `exec` of a kubeconfig's user.
        directory: Where it runs.
        cluster: The kubeconfig's cluster, for a plugin that wants to know.

    Raises:
        Exception: Of any kind; it failed, or its answer is none.
    """
    provider: Any = ExecProvider(settings, directory, cluster)  # type: ignore[no-untyped-call]
    interactive = settings.safe_get("interactiveMode") != "Never" and os.isatty(_STDIN)
    done = subprocess.run(  # noqa: S603 - the user's own kubeconfig names it
        provider.args,
        stdin=None if interactive else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=None if os.isatty(_STDERR) else subprocess.DEVNULL,
        cwd=provider.cwd,
        env={**provider.env, "KUBERNETES_EXEC_INFO": json.dumps(_question(provider, interactive=interactive))},
        check=True,
    )
    answer = json.loads(done.stdout)
    if answer["apiVersion"] != provider.api_version or answer["kind"] != "ExecCredential":
        raise ConfigException("it answered in another version")
    return answer["status"]


def _question(provider: Any, *, interactive: bool) -> dict[str, Any]:
    """The ExecCredential that a plugin is asked with."""
    spec: dict[str, Any] = {"interactive": interactive}
    if provider.cluster:
        known = provider.cluster.value
        spec["cluster"] = dict(known)
        for extension in known.get("extensions") or ():
            if extension["name"] == "client.authentication.k8s.io/exec":
                spec["cluster"]["config"] = extension["extension"]
                break
    return {"apiVersion": provider.api_version, "kind": "ExecCredential", "spec": spec}
