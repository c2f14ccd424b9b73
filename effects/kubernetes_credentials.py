"""Who we are to an API server: what a kubeconfig's context says, or the service account of the pod that we run in.

Logins that run a plugin or speak a protocol, and ways that lead through a proxy, are those of the `kubernetes` client
(`effects.kubernetes_logins`). It is imported for them only: that takes longer than all requests of a deploy.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from effects.cluster import ClusterError
from effects.kubeconfig import Context, Kubeconfig, KubeconfigError
from effects.kubernetes_access import Access, CredentialsError, PlainAccess, impersonation

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where Kubernetes puts a pod's credentials; it replaces the token there before it expires."""

_OF_CLUSTER = {
    "server", "certificate-authority", "certificate-authority-data", "insecure-skip-tls-verify", "tls-server-name",
    "disable-compression", "extensions",
}  # fmt: skip
_OF_USER = {
    "client-certificate", "client-certificate-data", "client-key", "client-key-data", "token", "tokenFile", "username",
    "password", "as", "as-uid", "as-groups", "as-user-extra", "extensions",
}  # fmt: skip
"""What we can use ourselves; an entry that says anything else is left to the client."""


def from_kubeconfig(file: Path, context: str) -> Access:
    """The access that a context of a kubeconfig describes; nothing is sent yet.

    Raises:
        ClusterError: The file or the context cannot be used.
    """
    if not file.is_file():
        raise ClusterError(
            f"there is no kubeconfig at {file}",
            hint="Name the file: ONECTL_KUBECONFIG=FILE, or in the profile: 1ctl profile create --help",
        )
    problem = "it has no such context"
    names: Sequence[str] = ()
    try:
        config = Kubeconfig.read(file)
        names = config.contexts
        if context in names:
            return _access(file, context, config.context(context))
    except (KubeconfigError, CredentialsError) as error:
        problem = str(error)
    raise ClusterError(
        f"The context {context!r} of {file} cannot be used: {problem}",
        hint=f"Contexts in that file: {', '.join(names) or 'none'}.",
    )


def from_service_account(mount: Path) -> Access:
    """Access as the service account of this pod, to the cluster that it runs in; nothing is sent yet.

    Its token is read again every minute.

    Raises:
        ClusterError: This is not a pod, or it has no service account's token.
    """
    from effects.kubernetes_logins import service_account  # noqa: PLC0415 - a pod's only

    try:
        return service_account(mount)
    except CredentialsError as error:
        problem = str(error)
    raise ClusterError(
        f"The service account of this pod cannot be used: {problem}",
        hint="Outside of a cluster, use a kubeconfig; in a pod, set automountServiceAccountToken: true.",
    )


def _access(file: Path, name: str, context: Context) -> Access:
    known = context.cluster.values.keys() <= _OF_CLUSTER and context.user.values.keys() <= _OF_USER
    if known and not _proxies(os.environ):
        return PlainAccess(context)
    from effects.kubernetes_logins import login  # noqa: PLC0415 - most need none of it

    return login(file, name, impersonation(context.user))


def _proxies(environ: Mapping[str, str]) -> bool:
    """Whether a proxy may be meant for us; which one, and for which hosts none, is for the client to say."""
    return any(environ[name] for name in environ if name.lower() in {"http_proxy", "https_proxy", "all_proxy"})
