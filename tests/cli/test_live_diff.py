"""`1ctl deploy diff live`: the ledger beside the cluster as it is."""

from __future__ import annotations

from pathlib import Path

from effects.cluster import Ref
from effects.sandbox import SandboxCluster
from tests.cli_support import Cli


def test_a_cluster_as_the_ledger_says_shows_no_difference(deployed: Cli) -> None:
    assert deployed.run("deploy", "diff", "live").done().stdout.startswith("💡 No difference")
    assert deployed.run("-o", "json", "deploy", "diff", "live").done().stdout == "[]\n"


def test_an_object_deleted_by_hand_is_shown_and_nothing_is_recorded_or_mended(deployed: Cli) -> None:
    events = deployed.events()
    cluster = SandboxCluster.open(deployed.cluster_file)
    cluster.delete(Ref("Service", "default", "user-service"), uid=None)
    cluster.close()
    for _ in range(2):
        shown = deployed.run("deploy", "diff", "live").done()
        assert shown.lines[-1].split() == ["service/user-service", "-", "present", "-"]
    assert deployed.events() == events


def test_what_is_left_of_lost_positions_is_shown_and_brought_back_by_the_next_command(
    deployed: Cli, tmp_path: Path
) -> None:
    backup = str(tmp_path / "backup.db")
    deployed.run("ledger", "backup", backup).done()
    deployed.run("env", "create", "--env", "A=lost").done()
    deployed.run("ledger", "restore", backup, "--accept-loss", "-y").done()
    shown = deployed.run("-o", "json", "deploy", "diff", "live").done().json
    assert ["data.a" in str(each) for each in shown].count(True) == 1, shown
    deployed.run("deploy", "restart").done()
    assert deployed.run("-o", "json", "deploy", "diff", "live").done().json == []


def test_live_is_compared_with_the_present_only(deployed: Cli) -> None:
    refused = deployed.run("deploy", "diff", "1", "live").failed(2)
    assert "live is the cluster as it is now" in refused.error


def test_an_app_that_is_not_deployed_is_not_found(cli: Cli) -> None:
    assert 'app "user-service" not found' in cli.run("deploy", "diff", "live").failed(3).error
