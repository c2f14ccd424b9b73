"""The ledger beside the cluster as it is now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effects.cluster import Ref
from effects.desired import Surroundings, desired
from effects.drift import ABSENT, Difference, differences
from ledger.errors import OneCtlError

if TYPE_CHECKING:
    from cli.session import Session
    from ledger.app import App


def differences_of(session: Session, app: App) -> list[Difference]:
    """Every field of the app's objects that is not as the ledger asks; of a Secret only whether it is there.

    Raises:
        ClusterError: The cluster cannot be asked, or says no.
    """
    ledger_id = session.reader.ledger_id()
    if app.life is None or ledger_id is None:
        raise OneCtlError(f'app "{app.id.name}" is not deployed')
    found: list[Difference] = []
    for entry in desired(app, app.life, Surroundings(ledger_id=ledger_id, gateway=session.place.gateway)):
        if entry.ref.kind == "Secret":
            found += _secret(session, entry.ref, ledger_id)
        else:
            found += differences(entry.manifest, session.cluster.read(entry.ref))
    return found


def _secret(session: Session, ref: Ref, ledger_id: str) -> list[Difference]:
    present = session.cluster.look(ref, ledger_id=ledger_id)
    return [Difference(ref, "", "present", ABSENT)] if present is None else []
