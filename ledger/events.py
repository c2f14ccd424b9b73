"""The vocabulary: every fact the ledger can hold, on a few screens.

An event is a fact in the past tense. It holds what was decided or seen, as plain JSON types, and nothing that the
envelope holds (who, when, why, about which app; see `ledger.envelope`). It never holds a secret value.

The topic of an event is its class name, chosen for good: stored bytes name it for ever. `SCHEMA_VERSIONS` says which
shape of it this program writes; `ledger.upcasters` reads the older ones. To add an event, follow docs/add-an-event.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from ledger.spec import SecretVersion, Spec
from ledger.value import Value, value

# -- The ledger as a whole: stream `ledger` ------------------------------------------------------------------------


@value
class LedgerCreated(Value):
    """Position 1 of every ledger.

    Attributes:
        ledger_id: UUID text; label and field manager of everything made on this ledger's behalf.
        origin: The log's name in signed checkpoints (C2SP tlog-checkpoint).
        verification_key: The public key that checks them, as a C2SP signed-note verifier key.
    """

    ledger_id: str
    origin: str
    verification_key: str


@value
class WorkerIdentitySet(Value):
    """Whose key new lives are sealed to from here on.

    Attributes:
        public_key: X25519 public key of the effects identity, base64.
    """

    public_key: str


@value
class LedgerMoved(Value):
    """The ledger goes on elsewhere; nothing is appended here after this.

    Attributes:
        target: Instance id of the store that goes on. It is kept outside the log, so a copy of the log has another.
    """

    target: str


@value
class LedgerRestored(Value):
    """The ledger was put back from a backup, or goes on as it is after it lost lines; what else was recorded is lost.

    Attributes:
        through: Position at which the backup ended, or the ledger as it was.
        epoch: Fencing epoch from here on; clusters may reflect positions of the lost end under the one before.
    """

    through: int
    epoch: int


@value
class Redacted(Value):
    """One field of an earlier event was blanked. Chain and proofs stay valid: a leaf holds the state's digest only.

    Attributes:
        position: Position of that event.
        field: Path of the field in its data, dot-separated, e.g. ``values.PASSWORD``.
        old_digest: SHA-256 of the state as it was until then, hex; at first what the leaf holds.
        new_digest: SHA-256 of the bytes that remain, hex.
        signature: By the ledger's key, base64, over all of this (`ledger.redaction.statement`): a redaction is
            believed only if its signer vouches that nothing but the field was changed.
    """

    position: int
    field: str
    old_digest: str
    new_digest: str
    signature: str


@value
class WorkerEnabled(Value):
    """From here on a resident worker applies what is asked of a cluster's apps; commands only record it."""

    cluster: str


@value
class WorkerDisabled(Value):
    """From here on commands apply their own effects in this cluster again."""

    cluster: str


# -- An app: what was asked for, in the app's own stream -----------------------------------------------------------


@value
class Deployed(Value):
    """A release was asked for. Release 1 opens a life.

    Attributes:
        deployment_id: UUID text of the life.
        release: Number of the release in this life, from 1.
        spec: Everything the release runs, in full.
        life_key: X25519 public key that this life's secrets are sealed to, base64; in release 1 only.
        restored_from: Deployment id of a destroyed life that this one was made from, or None.
    """

    deployment_id: str
    release: int
    spec: Spec
    life_key: str | None = None
    restored_from: str | None = None


@value
class RolledBack(Value):
    """A release was asked for that runs what an earlier one ran.

    Attributes:
        release: Number of the new release.
        target: Number of the release whose image, resources or configuration it restores.
        only: ``code`` leaves the configuration as set, ``config`` leaves everything else, ``all`` restores both.
        spec: Everything the new release runs, in full.
        env: The whole environment, as set from here on.
        secrets: All secrets, as set from here on.
    """

    release: int
    target: int
    only: str
    spec: Spec
    env: Mapping[str, str]
    secrets: Mapping[str, SecretVersion]


@value
class ReleaseMarkedBad(Value):
    """Nobody shall roll back to this release; why is the envelope's reason."""

    release: int


@value
class ReleaseUnmarked(Value):
    """Whoever wants may roll back to this release again; why is the envelope's reason."""

    release: int


@value
class DomainAssigned(Value):
    """The life got its host name, for as long as it lasts."""

    domain: str


@value
class EnvSet(Value):
    """Environment values were set; keys not named keep theirs. They reach pods with the next roll."""

    values: Mapping[str, str]


@value
class EnvUnset(Value):
    """Environment keys were removed."""

    keys: tuple[str, ...]


@value
class SecretSet(Value):
    """Secrets were sealed and set; keys not named keep theirs. They reach pods with the next roll.

    Attributes:
        secrets: By key, the version sealed and the SHA-256 of its ciphertext. Ciphertexts lie outside the log.
    """

    secrets: Mapping[str, SecretVersion]


@value
class SecretUnset(Value):
    """Secrets were removed from the app; their sealed values stay until the life ends, for rollback."""

    keys: tuple[str, ...]


@value
class SecretPurged(Value):
    """All sealed values of a key were deleted, for instance because it leaked; the key is not set any more."""

    key: str


@value
class Scaled(Value):
    """The number of pods was changed; not a release."""

    replicas: int


@value
class Restarted(Value):
    """All pods were asked to be replaced, with the configuration set by now; not a release."""


@value
class ApplyRetried(Value):
    """Somebody asked that what the cluster refused be tried again."""


@value
class ObjectAdopted(Value):
    """An object that somebody else made belongs to the app from here on; its fields are taken over.

    Attributes:
        kind: Kubernetes kind.
        name: Object name.
        uid: The uid that it must have; another object of that name is not meant.
    """

    kind: str
    name: str
    uid: str


@value
class Destroyed(Value):
    """The life ended. Its sealed values are gone; its host name is free; its history stays."""


# -- Host names: one claim stream each -----------------------------------------------------------------------------


@value
class DomainClaimed(Value):
    """A host name belongs to the life named in the envelope."""

    domain: str


@value
class DomainReleased(Value):
    """The host name belongs to nobody again."""

    domain: str


# -- Facts observed by the effects side: the app's second stream ---------------------------------------------------


@value
class AppliedObject(Value):
    """One object as the cluster acknowledged it.

    Attributes:
        kind: Kubernetes kind.
        name: Object name.
        uid: The cluster's uid for it.
        digest: Digest of the object as desired, hex.
        state: What the cluster calls the state that we left it in, see `effects.cluster.Seen.state`; None if unknown.
    """

    kind: str
    name: str
    uid: str
    digest: str
    state: str | None = None


@value
class ResourcesApplied(Value):
    """The cluster has acknowledged every object that the ledger asked for.

    Attributes:
        release: Newest release at that position.
        through: Position of the newest event about the app that the objects reflect.
        objects: All objects of the app, in the order of kind and name.
    """

    release: int
    through: int
    objects: tuple[AppliedObject, ...]


@value
class ApplyRefused(Value):
    """The cluster said no; unless something else was asked for meanwhile, the app is parked until that, or a retry.

    Attributes:
        release: Newest release at that position.
        through: Position of the newest event that was tried.
        reason: The cluster's machine-readable reason, e.g. ``Forbidden``.
        message: The cluster's own sentence, free of secrets.
    """

    release: int
    through: int
    reason: str
    message: str


@value
class RolloutCompleted(Value):
    """All pods of a roll are ready and no older one serves.

    Attributes:
        release: The release that runs.
        roll: Position of the event that asked for these pods.
        replicas: Number of ready pods.
        image_digest: ``sha256:...`` the cluster resolved the image to, or None where it did not say.
    """

    release: int
    roll: int
    replicas: int
    image_digest: str | None = None


@value
class RolloutFailed(Value):
    """The pods of a roll will not become ready; older pods, if any, still serve.

    Attributes:
        release: The release that was asked for.
        roll: Position of the event that asked for these pods.
        reason: The pod's or the Deployment's own reason, e.g. ``ImagePullBackOff``.
        message: The cluster's own sentence about it.
    """

    release: int
    roll: int
    reason: str
    message: str


@value
class FieldDrift(Value):
    """One field of an object that is not as the ledger asks for.

    Attributes:
        field: Path of the field, dot-separated, list entries by their name; empty for the whole object.
        wanted: What the ledger asks for, as JSON text; None where nothing is said about it, or it may not be shown.
        found: What the cluster has, likewise.
        manager: The field manager that owns the field in the cluster, or None where nobody can tell.
    """

    field: str
    wanted: str | None
    found: str | None
    manager: str | None


@value
class DriftDetected(Value):
    """An object is not as the ledger asks for, in other fields than was known before.

    Attributes:
        kind: Kubernetes kind.
        name: Object name.
        fields: Every field that differs now, by path; none if the object is as asked for again.
    """

    kind: str
    name: str
    fields: tuple[FieldDrift, ...]


@value
class DriftHealed(Value):
    """Fields of an object were set back to what the ledger asks for.

    Attributes:
        kind: Kubernetes kind.
        name: Object name.
        fields: Paths of the fields that were set back; an empty path if the whole object was made again.
    """

    kind: str
    name: str
    fields: tuple[str, ...]


@value
class SecretsFingerprinted(Value):
    """Fingerprints of sealed values, which do not reveal them: equal values of one life have equal fingerprints.

    Attributes:
        fingerprints: By key and then by version (as text): HMAC-SHA256 of the value, hex, first 16 digits, under a
            key derived from the life's private key.
    """

    fingerprints: Mapping[str, Mapping[str, str]]


@value
class ResourcesRemoved(Value):
    """Every object of the life named in the envelope is gone from the cluster.

    Attributes:
        through: Position of the ``Destroyed`` that asked for it.
    """

    through: int


LedgerEvent: TypeAlias = (
    LedgerCreated | WorkerIdentitySet | LedgerMoved | LedgerRestored | Redacted | WorkerEnabled | WorkerDisabled
)
AppEvent: TypeAlias = (
    Deployed
    | RolledBack
    | ReleaseMarkedBad
    | ReleaseUnmarked
    | DomainAssigned
    | EnvSet
    | EnvUnset
    | SecretSet
    | SecretUnset
    | SecretPurged
    | Scaled
    | Restarted
    | ApplyRetried
    | ObjectAdopted
    | Destroyed
)
DomainEvent: TypeAlias = DomainClaimed | DomainReleased
ObservedEvent: TypeAlias = (
    ResourcesApplied
    | ApplyRefused
    | RolloutCompleted
    | RolloutFailed
    | DriftDetected
    | DriftHealed
    | SecretsFingerprinted
    | ResourcesRemoved
)
Event: TypeAlias = LedgerEvent | AppEvent | DomainEvent | ObservedEvent
"""Any fact. A `match` over it ends in `assert_never`, so that a new one fails the type check until it is decided."""

SCHEMA_VERSIONS: Mapping[type[Event], int] = {
    LedgerCreated: 1,
    WorkerIdentitySet: 1,
    LedgerMoved: 1,
    LedgerRestored: 1,
    Redacted: 2,
    WorkerEnabled: 1,
    WorkerDisabled: 1,
    Deployed: 1,
    RolledBack: 1,
    ReleaseMarkedBad: 1,
    ReleaseUnmarked: 1,
    DomainAssigned: 1,
    EnvSet: 1,
    EnvUnset: 1,
    SecretSet: 1,
    SecretUnset: 1,
    SecretPurged: 1,
    Scaled: 1,
    Restarted: 1,
    ApplyRetried: 1,
    ObjectAdopted: 1,
    Destroyed: 1,
    DomainClaimed: 1,
    DomainReleased: 1,
    ResourcesApplied: 2,
    ApplyRefused: 1,
    RolloutCompleted: 1,
    RolloutFailed: 1,
    DriftDetected: 1,
    DriftHealed: 1,
    SecretsFingerprinted: 1,
    ResourcesRemoved: 1,
}
