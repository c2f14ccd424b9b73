"""Values that are set already: nothing is recorded, and a restart is named only where pods still lack something."""

from __future__ import annotations

from tests.cli_support import Cli

SAME = "💡 Environment user-service has these values already — no change.\n"


def test_the_same_values_are_not_recorded_again(deployed: Cli) -> None:
    deployed.run("env", "create", "--env", "A=1").done()
    deployed.run("deploy", "restart", "--wait").done()
    before = deployed.events()
    again = deployed.run("env", "create", "--env", "A=1").done()
    assert again.stdout == SAME
    assert "restart" not in again.stderr
    assert deployed.events() == before


def test_a_restart_is_named_while_pods_lack_the_values(deployed: Cli) -> None:
    deployed.run("env", "create", "--env", "A=1").done()
    again = deployed.run("env", "create", "--env", "A=1").done()
    assert again.stdout == SAME
    assert "until the next deploy or restart: 1ctl deploy restart" in again.stderr


def test_the_document_and_a_dry_run_say_that_nothing_changes(deployed: Cli) -> None:
    create = ("env", "create", "--env", "A=1")
    assert deployed.run(*create, "-o", "json").done().json["changed"] is True
    assert deployed.run(*create, "-o", "json").done().json["changed"] is False
    assert deployed.run(*create, "--dry-run").done().stdout == "💡 Nothing would change.\n"
    assert deployed.events().count("EnvSet") == 1


def test_a_request_that_is_repeated_says_what_it_changed(deployed: Cli) -> None:
    create = ("env", "create", "--env", "A=1", "--request-id", "r-1")
    first, again = deployed.run(*create).done(), deployed.run(*create).done()
    assert first.stdout == again.stdout == "✅ Environment user-service created successfully\n"
