"""A cluster that is too busy, and says for how long, is asked again."""

from __future__ import annotations

from dataclasses import replace

from tests.cli_support import Cli


def busy(cli: Cli, times: int, seconds: float) -> Cli:
    return replace(cli, change="tests.faults.changes:busy_cluster").having(ONECTL_TEST_BUSY=f"{times} {seconds}")


def test_it_is_waited_for_and_each_step_is_told_once(cli: Cli) -> None:
    steps = (
        cli.having(ONECTL_HOME=str(cli.home.with_name("other"))).run("deploy", "--image", "nginx:1").done().lines[1:]
    )
    done = busy(cli, 2, 0).run("deploy", "--image", "nginx:1").done()
    assert [line.split(" ")[0] for line in done.lines[1:]] == [line.split(" ")[0] for line in steps]
    assert done.stderr.count("It is asked again in 0.5 s.") == 1
    assert cli.run("-o", "json", "deploy", "status").done().json["applied"] == "yes"


def test_it_is_not_waited_for_beyond_the_time_that_was_given(cli: Cli) -> None:
    refused = busy(cli, 1, 5).run("deploy", "--image", "nginx:1", "--wait", "--timeout", "2s").failed(8)
    assert "It is asked again" not in refused.stderr


def test_who_is_asked_to_wait_for_too_long_is_told_what_was_recorded(cli: Cli) -> None:
    refused = busy(cli, 1, 31).run("deploy", "--image", "nginx:1").failed(8)
    assert "429 TooManyRequests" in refused.error
    cli.run("deploy", "status").done()
