"""The values that describe an app: its name, what runs, and the configuration given to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from ledger.value import Value, short_value, value

BLANK = "[redacted]"
"""What stands in the ledger where a text was redacted."""


@short_value
class AppId(Value):
    """Names one app in one place, for ever. Its text form is ``cluster/namespace/name``."""

    cluster: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.cluster}/{self.namespace}/{self.name}"


@value
class Spec(Value):
    """What a release runs. Every field has a value: merging with defaults is done before.

    Attributes:
        image: Image reference, as given.
        machines: Node names the pods may run on, in the order given; empty means any.
        port: Container and service port, 1 to 65535.
        cpu: Kubernetes quantity, request and limit alike.
        memory: Kubernetes quantity in ``Mi`` or ``Gi``, request and limit alike.
        replicas: Number of pods, 0 or more.
        health_path: Path of the HTTP readiness probe, or None for none.
        image_pull_secret: Name of a Secret in the namespace, or None.
    """

    image: str
    machines: tuple[str, ...] = ()
    port: int = 8080
    cpu: str = "0.5"
    memory: str = "256Mi"
    replicas: int = 1
    health_path: str | None = None
    image_pull_secret: str | None = None


@short_value
class SecretVersion(Value):
    """One sealed value: its number among those of its key in this life (from 1), and what was stored.

    Attributes:
        version: Counts up with each value set for the key in one life; never used twice.
        digest: SHA-256 of the ciphertext, hex. Says nothing about the plaintext.
    """

    version: int
    digest: str


@short_value
class Configuration(Value):
    """Environment values and sealed secrets by their original names."""

    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, SecretVersion] = field(default_factory=dict)

    @property
    def blanked(self) -> tuple[str, ...]:
        """Keys of environment values that were redacted, sorted: nobody knows what they are to be."""
        return tuple(sorted(key for key, text in self.env.items() if text == BLANK))
