"""What the section of a service file says of a connection, as the driver's own library reads it."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping

from psycopg import pq

from ledger.postgres_tls import NAMES

_environment = threading.Lock()


def of_service(given: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """What the service that is named says of where to connect and of TLS; nothing if none is named, or it is not found.

    The driver's own library reads the file, wherever it is. It answers ``prefer`` also where no ``sslmode`` is said, so in
    a service file that word counts as nothing.
    """
    name = given.get("service") or environ.get("PGSERVICE")
    if not name:
        return {}
    with _environment:  # the library looks for the name of the service nowhere else
        before = os.environ.get("PGSERVICE")
        os.environ["PGSERVICE"] = name
        try:
            found = {each.keyword.decode(): (each.val or b"").decode() for each in pq.Conninfo.get_defaults()}
        finally:
            if before is None:
                del os.environ["PGSERVICE"]
            else:
                os.environ["PGSERVICE"] = before
    return {key: found[key] for key in NAMES if found.get(key) and (key, found[key]) != ("sslmode", "prefer")}
