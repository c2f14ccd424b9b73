"""Homes with big ledgers, made once for each set of parameters and each version of the code that makes them."""

from __future__ import annotations

import shutil
from hashlib import sha256
from pathlib import Path

from ledger.keys import KeyFiles
from tests.bench.make_ledger import make
from tests.bench.places import ROOT, cache
from tests.bench.programs import User
from tests.bench.run import Run

_MAKERS = ("tests/bench/make_ledger.py", *(f"ledger/{name}.py" for name in ("codec", "envelope", "events", "tables")))
_LEDGER = "ledgers/sandbox.db"


def made_home(run: Run, *, events: int, apps: int, releases_of_first_app: int | None = None) -> Path:
    """A home (an ONECTL_HOME) with such a ledger and its keys; for reading, since others read it as well."""
    code = sha256(b"".join((ROOT / path).read_bytes() for path in _MAKERS)).hexdigest()[:12]
    name = f"ledger-{events}-{apps}-{releases_of_first_app}"
    home = cache() / f"{name}-{code}"
    if not home.exists():
        for older in cache().glob(f"{name}-*"):
            shutil.rmtree(older)
        run.say(f"making a ledger of {events:,} events and {apps:,} apps, once")
        draft = home.with_name(f".{home.name}")
        shutil.rmtree(draft, ignore_errors=True)  # of a run that was interrupted
        keys = KeyFiles(draft / "keys")
        make(draft / _LEDGER, events=events, apps=apps, releases_of_first_app=releases_of_first_app, keys=keys)
        draft.rename(home)
    return home


def made_user(
    run: Run, *, events: int, apps: int, releases_of_first_app: int | None = None, app: str = "app-00000"
) -> User:
    """A user in the directory of an app, in a copy of such a home that may be changed."""
    home = made_home(run, events=events, apps=apps, releases_of_first_app=releases_of_first_app)
    user = User.new(run.scratch / f"{events}-events", app)
    shutil.copytree(home, user.data)
    return user


def ledger_file(user: User) -> Path:
    """The user's ledger."""
    return user.data / _LEDGER
