"""What to do about an app that is parked, from what the ledger says of it: the reason, and the cluster's sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.recording import not_applied
from ledger.text import Lines

if TYPE_CHECKING:
    from cli.exit_codes import CommandError
    from ledger.app import Life, Parked
    from ledger.spec import AppId

_HINTS = {
    "Sealed": "Point ONECTL_IDENTITY of the worker to the identity that opens its secrets",
    "Contended": "Stop whoever changes it",
    "Redacted": "Set the value again: 1ctl env create, then 1ctl deploy restart",
    "StillThere": "Remove what holds it; it is tried again by itself",
    "Forbidden": "Ask whoever runs the cluster for the right to do this",
}
_UNKNOWN_KIND = "The cluster does not know objects of this kind; an HTTPRoute needs the Gateway API installed"


def parked_hint(app_id: AppId, parked: Parked) -> str:
    """The next steps, in the order in which they are taken."""
    from effects.cluster import foreign_object  # noqa: PLC0415 - only where something is parked

    retry = f"When that is fixed: 1ctl worker retry {app_id.name}"
    foreign = foreign_object(parked.message) if parked.reason == "NotOurs" else None
    if foreign is None:
        first = _HINTS.get(parked.reason) or _what_is_missing(app_id, parked)
        return Lines(f"{first}.", retry) if first else retry
    ref, uid = foreign
    steps = [f"Remove it, or deploy under another name: kubectl -n {app_id.namespace} get {ref} --show-labels"]
    if uid:  # nobody can tell which one a Secret is, since it is not read
        steps.append(f"Or take it over: 1ctl deploy adopt {ref} --uid {uid} --reason TEXT")
    return Lines(*steps, retry)


def given_up(life: Life | None) -> Parked | None:
    """Why nobody tries any more to apply a life; None also where something only lingers while it is deleted."""
    from effects.removal import STILL_THERE  # noqa: PLC0415 - only where something is waited for

    parked = life.parked if life is not None else None
    return parked if parked is not None and parked.reason != STILL_THERE else None


def refusal(reason: str, message: str) -> str:
    """What keeps a request from being applied, as a clause: the cluster, or what this or the worker's machine lacks."""
    return f"the cluster refused ({reason}): {message}" if reason != "Sealed" else message


def parked_error(app_id: AppId, parked: Parked, *, again: str) -> CommandError:
    """The error of an app that is parked.

    Args:
        app_id: The app.
        parked: Why.
        again: As for `cli.recording.not_applied`.
    """
    return not_applied(refusal(parked.reason, parked.message), hint=parked_hint(app_id, parked), again=again)


def _what_is_missing(app_id: AppId, parked: Parked) -> str | None:
    """Of a 404: the namespace, or else the kind itself, since an object of its own is never missed."""
    if parked.reason not in ("NotFound", "Not Found"):
        return None
    if f'namespaces "{app_id.namespace}" not found' in parked.message:
        return f"Make the namespace: kubectl create namespace {app_id.namespace}"
    return _UNKNOWN_KIND
