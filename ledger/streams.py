"""Stream identities: which stream an event belongs to, for ever (ADR 1).

Names are unambiguous: neither a namespace nor an app name can hold a slash, so a cluster name may.
"""

from __future__ import annotations

from uuid import UUID, uuid5

from ledger.spec import AppId

NAMESPACE = UUID("91244e1b-321a-5abf-b075-dee04fa5129e")
"""``uuid5(NAMESPACE_URL, "https://1ctl.dev/ledger/streams")``. Changing it would orphan every ledger there is."""

LEDGER_STREAM = uuid5(NAMESPACE, "ledger")
"""The stream of events about the ledger as a whole."""


def app_stream(app: AppId) -> UUID:
    """The stream of an app's events; the same after destroy and recreate."""
    return uuid5(NAMESPACE, str(app))


def observed_stream(stream: UUID) -> UUID:
    """The second stream of an app: facts observed, which never move the version its commands are decided at."""
    return uuid5(stream, "observed")


def domain_stream(domain: str) -> UUID:
    """The claim stream of a host name (no slash, so it can never be an app's)."""
    return uuid5(NAMESPACE, domain)
