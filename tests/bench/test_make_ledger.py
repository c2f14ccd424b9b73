from __future__ import annotations

from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from ledger.keys import KeyFiles
from ledger.reader import LedgerReader
from ledger.sqlite_store import SqliteStore
from ledger.verify import verify_chain
from projections.releases import releases
from tests.bench.make_ledger import app_id, make
from tests.cli_support import Cli, write_toml


def test_a_made_ledger_is_intact_and_has_what_was_asked_for(tmp_path: Path) -> None:
    make(tmp_path / "ledger.db", events=5000, apps=40, releases_of_first_app=150)
    with closing(SqliteStore(tmp_path / "ledger.db")) as store:
        assert verify_chain(store).damage is None
        assert store.head().position == 5000
        reader = LedgerReader(store)
        assert all(reader.app(app_id(number)).lives > 0 for number in range(40))
        assert reader.app(app_id(40)).lives == 0
        (life,) = releases(reader.history(app_id(0)))
        assert [each.number for each in life.releases] == [*range(1, 151)]
        assert {each.status for each in life.releases} == {"active", "failed", "superseded", "rolled_back"}
        assert reader.find(life.deployment_id) == app_id(0)
        kinds = Counter(row.topic for row in store.positions(1, limit=5000))
        assert len(kinds) == 21, "every kind, but those of a move, a restore, a redaction and a purge"
        assert kinds["Destroyed"] == kinds["ResourcesRemoved"] == kinds["DomainReleased"] > 0


def test_the_same_seed_makes_the_same_ledger(tmp_path: Path) -> None:
    chains = []
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        make(tmp_path / name, events=1000, apps=10, seed=seed)
        with closing(SqliteStore(tmp_path / name)) as store:
            chains.append(store.head().chain)
    assert chains[0] == chains[1] != chains[2]


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="too few"):
        make(tmp_path / "ledger.db", events=100, apps=10)


def test_commands_go_on_with_a_made_ledger(tmp_path: Path) -> None:
    write_toml(tmp_path / "svc", "app-00000")
    cli = Cli(tmp_path / "home", tmp_path / "svc")
    keys = KeyFiles(cli.home / "keys")
    make(cli.home / "ledgers" / "sandbox.db", events=500, apps=5, releases_of_first_app=40, keys=keys)
    cli.run("secret", "create", "--kv", "TOKEN=value").done()
    cli.run("deploy", "--image", "nginx:2").done()
    assert "41" in cli.run("deploy", "releases").done().stdout
    cli.run("audit", "verify").done()
