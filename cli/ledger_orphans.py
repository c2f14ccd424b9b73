"""`1ctl ledger orphans`: what is in the cluster with our label and no event behind it."""

from __future__ import annotations

from cli.session import Session


def orphans() -> None:
    """List objects with our label that no event explains.

    A worker removes those of destroyed deployments by itself. Secrets are not listed, since nobody here may read them.

    Example:  1ctl ledger orphans
    """
    from effects.orphans import orphans as find  # noqa: PLC0415

    session = Session.for_questions()
    cluster = session.place.cluster
    namespaces = {app_id.namespace for app_id in session.reader.apps(cluster)} | {session.place.namespace}
    found = [
        each
        for namespace in sorted(namespaces)
        for each in find(session.reader, session.cluster, namespace, session.place.gateway)
    ]
    if session.terminal.json:
        session.terminal.document(
            [
                {
                    "namespace": each.ref.namespace,
                    "kind": each.ref.kind,
                    "name": each.ref.name,
                    "uid": each.uid,
                    "deployment_id": each.deployment_id or None,
                    "why": each.why,
                }
                for each in found
            ]
        )
        return
    if not found:
        session.terminal.info("No orphans: every object with this ledger's label is explained by an event")
        return
    rows = [[each.ref.namespace, str(each.ref), each.deployment_id or "-", each.why] for each in found]
    session.terminal.table(["NAMESPACE", "OBJECT", "DEPLOYMENT ID", "WHY"], rows)
