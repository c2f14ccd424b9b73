"""A process of its own that deploys; for tests of what two of them do to each other.

Reads lines ``HOME NAME REQUEST`` and deploys the app NAME to the ledger in HOME; prints release and deployment id.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from ledger import sealing
from ledger.commands import Deploy
from ledger.domains import mint_domain
from ledger.envelope import Source
from ledger.keys import KeyFiles
from ledger.ledger import Ledger
from ledger.request import Request
from ledger.spec import AppId
from ledger.sqlite_store import SqliteStore


def main() -> None:
    """Do what the module's docstring says."""
    sealing.generate()
    print("ready", flush=True)
    for line in sys.stdin:
        home, name, request_id = line.split()
        store = SqliteStore(Path(home) / "ledger.db")
        ledger = Ledger(store, KeyFiles(Path(home) / "keys"), mint_domain=lambda: mint_domain("example.com"))
        request = Request(request_id=request_id, actor="ada", source=Source(program="test", host="h"))
        outcome = ledger.execute(AppId("prod", "shop", name), Deploy(image=f"{name}:1"), request)
        assert outcome.app.life is not None
        print(outcome.recorded[0].event.release, outcome.app.life.deployment_id, flush=True)  # type: ignore[union-attr]
        store.close()


if __name__ == "__main__":
    main()
