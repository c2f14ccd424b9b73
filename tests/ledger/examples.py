"""One example of every event, for the golden files in tests/golden/events.

``python -m tests.ledger.examples`` writes the golden files that are missing. One that is there is never rewritten:
it shows what ledgers hold that were written with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ledger.codec import encode
from ledger.envelope import Envelope, Source, Subject
from ledger.events import (
    SCHEMA_VERSIONS,
    AppliedObject,
    ApplyRefused,
    ApplyRetried,
    Deployed,
    Destroyed,
    DomainAssigned,
    DomainClaimed,
    DomainReleased,
    DriftDetected,
    DriftHealed,
    EnvSet,
    EnvUnset,
    Event,
    FieldDrift,
    LedgerCreated,
    LedgerMoved,
    LedgerRestored,
    ObjectAdopted,
    Redacted,
    ReleaseMarkedBad,
    ReleaseUnmarked,
    ResourcesApplied,
    ResourcesRemoved,
    Restarted,
    RolledBack,
    RolloutCompleted,
    RolloutFailed,
    Scaled,
    SecretPurged,
    SecretSet,
    SecretsFingerprinted,
    SecretUnset,
    WorkerDisabled,
    WorkerEnabled,
    WorkerIdentitySet,
)
from ledger.spec import SecretVersion, Spec

GOLDEN = Path(__file__).parent.parent / "golden" / "events"

ENVELOPE = Envelope(
    actor="ada",
    reason="fixes the log-in — für alle",
    request_id="ci-4711",
    source=Source(
        program="1ctl 0.1.0", host="runner-1", commit="0f1e2d3c", dirty=False, ci="https://ci.example.com/4711"
    ),
    subject=Subject(
        cluster="prod", namespace="shop", app="orders", deployment_id="7a6b5c4d-3e2f-4a1b-8c9d-0e1f2a3b4c5d"
    ),
    correlation_id="ci-4711",
    causation=41,
    clock="2026-01-31T09:30:00.000001Z",
    salt="000102030405060708090a0b0c0d0e0f",
)

_SPEC = Spec(
    image="ghcr.io/acme/orders:1.4.2",
    machines=("compute-02", "compute-01"),
    port=3000,
    cpu="0.25",
    memory="128Mi",
    replicas=2,
    health_path="/healthz",
    image_pull_secret="registry-login",
)
_DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_PUBLIC = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="

EXAMPLES: Sequence[Event] = (
    LedgerCreated(
        ledger_id="0c1d2e3f-4a5b-4c6d-8e7f-8a9b0c1d2e3f",
        origin="1ctl.dev/ledger/0c1d2e3f-4a5b-4c6d-8e7f-8a9b0c1d2e3f",
        verification_key="1ctl.dev/ledger/0c1d2e3f-4a5b-4c6d-8e7f-8a9b0c1d2e3f+0a1b2c3d+AdVE",
    ),
    WorkerIdentitySet(public_key=_PUBLIC),
    LedgerMoved(target="1d2e3f4a-5b6c-4d7e-8f8a-9b0c1d2e3f4a"),
    LedgerRestored(through=40, epoch=2),
    Redacted(
        position=12,
        field="values.PASSWORD",
        old_digest=_DIGEST,
        new_digest=_DIGEST[::-1],
        signature="c2lnbmVkIGJ5IHRoZSBsZWRnZXIncyBrZXk=",
    ),
    WorkerEnabled(cluster="prod"),
    WorkerDisabled(cluster="prod"),
    Deployed(
        deployment_id="7a6b5c4d-3e2f-4a1b-8c9d-0e1f2a3b4c5d",
        release=1,
        spec=_SPEC,
        life_key=_PUBLIC,
        restored_from="6a5b4c3d-2e1f-4a0b-8c9d-0e1f2a3b4c5d",
    ),
    RolledBack(
        release=3,
        target=1,
        only="all",
        spec=_SPEC,
        env={"LOG_LEVEL": "info"},
        secrets={"JWT_SECRET": SecretVersion(1, _DIGEST)},
    ),
    ReleaseMarkedBad(release=2),
    ReleaseUnmarked(release=2),
    DomainAssigned(domain="excitedowl-twzwpdg.satusky.com"),
    EnvSet(values={"LOG_LEVEL": "info", "GREETING": 'Grüß "Gott"\n', "EMPTY": ""}),
    EnvUnset(keys=("LOG_LEVEL", "EMPTY")),
    SecretSet(secrets={"JWT_SECRET": SecretVersion(2, _DIGEST), "API_KEY": SecretVersion(1, _DIGEST[::-1])}),
    SecretUnset(keys=("JWT_SECRET",)),
    SecretPurged(key="JWT_SECRET"),
    Scaled(replicas=3),
    Restarted(),
    ApplyRetried(),
    ObjectAdopted(kind="Service", name="orders", uid="5b4a3c2d-1e0f-4a9b-8c7d-6e5f4a3b2c1d"),
    Destroyed(),
    DomainClaimed(domain="excitedowl-twzwpdg.satusky.com"),
    DomainReleased(domain="excitedowl-twzwpdg.satusky.com"),
    ResourcesApplied(
        release=2,
        through=41,
        objects=(
            AppliedObject(kind="Deployment", name="orders", uid="u-1", digest=_DIGEST, state="generation 3"),
            AppliedObject(kind="Service", name="orders", uid="u-2", digest=_DIGEST[::-1]),
        ),
    ),
    ApplyRefused(release=2, through=41, reason="Forbidden", message="quota exceeded"),
    RolloutCompleted(release=2, roll=38, replicas=2, image_digest=f"sha256:{_DIGEST}"),
    RolloutFailed(release=2, roll=38, reason="ImagePullBackOff", message="no such image"),
    DriftDetected(
        kind="Deployment",
        name="orders",
        fields=(
            FieldDrift(field="spec.replicas", wanted="2", found="5", manager="kubectl-edit"),
            FieldDrift(field="", wanted="present", found=None, manager=None),
        ),
    ),
    DriftHealed(kind="Deployment", name="orders", fields=("spec.replicas", "")),
    SecretsFingerprinted(fingerprints={"JWT_SECRET": {"1": "0123456789abcdef", "2": "fedcba9876543210"}}),
    ResourcesRemoved(through=44),
)


def golden_name(event: Event) -> str:
    """The name of the file that holds the example as it is stored."""
    return f"{type(event).__name__}.v{SCHEMA_VERSIONS[type(event)]}.json"


def main() -> None:
    """Write the golden files that are missing."""
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for event in EXAMPLES:
        path = GOLDEN / golden_name(event)
        if not path.exists():
            path.write_bytes(encode(event, ENVELOPE))
            print(f"wrote {path}")


if __name__ == "__main__":
    main()
