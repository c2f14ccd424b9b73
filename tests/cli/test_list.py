"""``deploy list --wide``: whose each line is, what it runs, and whether its pods are ready."""

from __future__ import annotations

from tests.cli_support import Cli, write_toml

COLUMNS = ["DEPLOYMENT ID", "HOSTNAMES", "TYPE", "STATUS", "CREATED", "APP", "RELEASE", "IMAGE", "PODS"]


def wide(cli: Cli, *args: str) -> list[list[str]]:
    """The last four cells of each line, under the header."""
    head, _, *rows = cli.run("deploy", "list", "--wide", *args).done().lines
    assert [column for column in COLUMNS if column in head] == COLUMNS
    return [row.split()[-4:] for row in rows]


def test_a_wide_list_tells_apps_apart_and_which_of_them_work(cli: Cli) -> None:
    for name, image, code in (("good", "nginx:1", 0), ("bad", "broken:1", 4)):
        directory = write_toml(cli.cwd.parent / name, name).parent
        assert cli.within(directory).run("deploy", "--image", image, "--wait").code == code
    good = cli.within(cli.cwd.parent / "good")
    assert wide(cli) == [["good", "1", "nginx:1", "ready"], ["bad", "1", "broken:1", "failed"]]
    good.run("deploy", "--image", "held:2").done()
    assert wide(cli)[0] == ["good", "2", "held:2", "pending"]
    assert wide(good, "--at-release", "1")[0] == ["good", "1", "nginx:1", "ready"]
    good.run("deploy", "destroy", "-y").done()
    assert wide(cli, "--all")[0] == ["good", "2", "held:2", "-"]


def test_what_is_left_out_of_a_list_is_counted_as_a_person_counts(cli: Cli) -> None:
    for name in ("a", "b", "c"):
        cli.run("deploy", "--name", name, "--image", "nginx:1", "--detach").done()
    cli.run("deploy", "--name", "a", "--image", "nginx:2", "--detach").done()
    assert "1 more is not shown. The next one: add --after" in cli.run("deploy", "list", "--limit", "2").done().stderr
    assert "2 more are not shown. The next ones: add --after" in cli.run("deploy", "list", "--limit", "1").done().stderr
    releases = cli.run("deploy", "releases", "--name", "a", "--limit", "1").done().stderr
    assert "1 older release is not shown." in releases


def test_in_json_a_wide_list_and_a_get_tell_how_the_pods_are(deployed: Cli) -> None:
    deployed.run("deploy", "status", "--wait").done()
    (listed,) = deployed.run("-o", "json", "deploy", "list", "--wide").done().json
    got = deployed.run("-o", "json", "deploy", "get").done().json
    assert listed["rollout"] == got["rollout"] == "completed"
    (plain,) = deployed.run("-o", "json", "deploy", "list").done().json
    assert listed == {**plain, "rollout": "completed"}


def test_a_get_says_when_the_pods_failed(cli: Cli) -> None:
    cli.run("deploy", "--image", "nginx:1", "--wait").done()
    assert "Status:        completed\n" in cli.run("deploy", "get").done().stdout
    cli.run("deploy", "--image", "broken:1", "--wait").failed(4)
    assert "Status:        completed, but its pods failed\n" in cli.run("deploy", "get").done().stdout


def test_a_release_to_list_by_is_one_of_the_app_of_this_directory(deployed: Cli) -> None:
    elsewhere = deployed.within(deployed.home)
    for args in (("deploy", "list"), ("env", "list", "--all"), ("secret", "list", "--all")):
        error = elsewhere.run(*args, "--at-release", "1").failed(3).error
        assert "--at-release counts releases of the app in this directory, and there is no satusky.toml" in error
        assert "--name" not in error
        assert "--as-of" in error
