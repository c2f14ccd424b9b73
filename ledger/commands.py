"""Requests, in the imperative: what a user can ask of one app, or of the ledger as a whole.

A command holds what was asked after flags and files were merged, and nothing minted (ids, domains, times,
ciphertexts): its digest decides whether two requests with one id ask for the same thing. Of secrets it holds the key
names only. `None` means "not given".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import TypeAlias

from ledger.value import Value, value


@value
class Deploy(Value):
    """Make a release. What is not given keeps the life's current value, else gets the default.

    `plain` allows environment values that look like credentials. Of secrets the command has the keys only; the values
    travel beside it, sealed.
    """

    image: str | None = None
    machines: tuple[str, ...] | None = None
    port: int | None = None
    cpu: str | None = None
    memory: str | None = None
    replicas: int | None = None
    health_path: str | None = None
    image_pull_secret: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    plain: bool = False
    secret_keys: tuple[str, ...] = ()


@value
class SetEnv(Value):
    """Set environment values; others stay. `plain` allows values that look like credentials."""

    values: Mapping[str, str]
    plain: bool = False


@value
class UnsetEnv(Value):
    """Remove environment keys, all of which must be set."""

    keys: tuple[str, ...]


@value
class SetSecrets(Value):
    """Set secrets; others stay. The values travel beside the command, sealed."""

    keys: tuple[str, ...]


@value
class UnsetSecrets(Value):
    """Remove secrets, all of which must be set."""

    keys: tuple[str, ...]


@value
class PurgeSecret(Value):
    """Delete every sealed value of a key, for instance because it leaked."""

    key: str


@value
class Restore(Value):
    """Open a new life that runs what a destroyed one last ran. Its secrets are shredded, so they are given again.

    Attributes:
        deployment_id: The destroyed life; None means the app's newest.
        secret_keys: Secrets that are given with the request; the values travel beside it, sealed.
        without_secrets: Whether those that are not given may be left out.
    """

    deployment_id: str | None = None
    secret_keys: tuple[str, ...] = ()
    without_secrets: bool = False


@value
class Rollback(Value):
    """Make a release that runs what an earlier one ran.

    Attributes:
        version: Number of that release; None means the last one that was healthy.
        only: ``code``, ``config`` or ``all``.
    """

    version: int | None = None
    only: str = "all"


@value
class MarkBad(Value):
    """Keep everybody from rolling back to a release."""

    release: int


@value
class Unmark(Value):
    """Let everybody roll back to a release again that was marked as bad."""

    release: int


@value
class Scale(Value):
    """Change the number of pods."""

    replicas: int


@value
class Restart(Value):
    """Replace all pods, one by one."""


@value
class RetryApply(Value):
    """Try again what the cluster refused."""


@value
class AdoptObject(Value):
    """Take over an object that somebody else made; it must have this uid. There need not be an open life.

    Attributes:
        kind: Kubernetes kind.
        name: Object name.
        uid: As the cluster shows it.
    """

    kind: str
    name: str
    uid: str


@value
class Destroy(Value):
    """End the life: remove everything of it from the cluster, and its sealed values from the ledger."""


Command: TypeAlias = (
    Deploy
    | Restore
    | Rollback
    | MarkBad
    | Unmark
    | SetEnv
    | UnsetEnv
    | SetSecrets
    | UnsetSecrets
    | PurgeSecret
    | Scale
    | Restart
    | RetryApply
    | AdoptObject
    | Destroy
)


@value
class Redact(Value):
    """Blank one field of an earlier event for ever.

    Attributes:
        position: Position of that event.
        field: Path of the field, dot-separated.
    """

    position: int
    field: str


@value
class RotateKeys(Value):
    """Make a new effects identity, and wrap every life's key for it."""


LedgerCommand: TypeAlias = Redact | RotateKeys
