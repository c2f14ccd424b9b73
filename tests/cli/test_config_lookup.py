"""Which `satusky.toml` a command reads, and what wins over what."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli_support import Cli, write_toml


@pytest.fixture
def here(tmp_path: Path) -> Cli:
    """A user in an empty directory."""
    (tmp_path / "here").mkdir()
    return Cli(tmp_path / "home", tmp_path / "here")


def app_of(cli: Cli, *args: str) -> str:
    """The app that a command is about, told by the refusal to show it."""
    error = cli.run("deploy", "get", *args).failed(3).error
    return error.split('"')[1]


def test_the_nearest_file_upwards(here: Cli, tmp_path: Path) -> None:
    write_toml(tmp_path, "above")
    write_toml(here.cwd / "deep", "nearer")
    (here.cwd / "deep" / "er").mkdir()
    assert app_of(here) == "above"
    assert app_of(here.within(here.cwd / "deep" / "er")) == "nearer"


def test_no_file_at_all(here: Cli) -> None:
    assert here.run("deploy", "get").failed(3).error == (
        "❌ no --deployment-id and no satusky.toml found\n"
        "Run '1ctl deploy' in your project directory or pass --deployment-id, --name or --config\n"
    )


@pytest.mark.parametrize("config", ["svc/satusky.toml", "svc", "./svc/", "svc/../svc/satusky.toml"])
def test_a_path_of_a_file_or_a_directory(here: Cli, config: str) -> None:
    write_toml(here.cwd / "svc", "there")
    write_toml(here.cwd, "here")
    assert app_of(here, "--config", config) == "there"


def test_an_absolute_path(here: Cli, tmp_path: Path) -> None:
    assert app_of(here, "--config", str(write_toml(tmp_path / "far", "far"))) == "far"


def test_a_name(here: Cli) -> None:
    write_toml(here.cwd, "base")
    write_toml(here.cwd, "base-staging").rename(here.cwd / "satusky.staging.toml")
    write_toml(here.cwd, "base")
    assert app_of(here, "--config", "staging") == "base-staging"


@pytest.mark.parametrize("config", ["none.toml", "none", "no/where"])
def test_what_was_asked_for_is_never_replaced_by_another(here: Cli, config: str) -> None:
    write_toml(here.cwd, "base")
    error = here.run("deploy", "--image", "nginx", "--config", config).failed(3).error
    assert "base" not in error
    assert not here.home.exists()


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (
            "prot = 80\n",
            "❌ prot in satusky.toml is not a key of [app]\nDid you mean port?\n",
        ),
        (
            'zone = "eu"\n',
            "❌ zone in satusky.toml is not a key of [app]\nThe keys of [app] are: name, port, cpu, memory, replicas, ",
        ),
        ("[build]\nfast = true\n", "❌ build in satusky.toml is outside [app], the only table that is known\n"),
        ('replicas = "2"\n', '❌ replicas in satusky.toml is "2": must be a whole number from 0 to 10000\n'),
    ],
)
def test_a_file_that_says_what_is_not_understood(here: Cli, line: str, error: str) -> None:
    write_toml(here.cwd, "base", more=line)
    assert here.run("deploy", "--image", "nginx").failed(3).error.startswith(error)


def test_a_flag_wins_over_the_file_which_wins_over_what_runs_which_wins_over_the_default(here: Cli) -> None:
    (here.cwd / "satusky.toml").write_text('[app]\nname = "base"\nport = 9000\n')

    def spec(*args: str) -> tuple[int, str, str]:
        here.run("deploy", *args).done()
        found = here.run("-o", "json", "deploy", "get").done().json
        return found["port"], found["memory_request"], found["cpu_request"]

    assert spec("--image", "nginx", "--memory", "1Gi") == (9000, "1Gi", "0.5")
    assert spec("--port", "9001") == (9001, "1Gi", "0.5")
    assert spec() == (9000, "1Gi", "0.5")
    (here.cwd / "satusky.toml").write_text('[app]\nname = "base"\nmemory = "2Gi"\ncpu = "250m"\n')
    assert spec() == (9000, "2Gi", "250m")
    assert spec("--cpu", "1") == (9000, "2Gi", "1")


def test_what_changes_is_told_on_stderr(here: Cli) -> None:
    write_toml(here.cwd, "base")
    here.run("deploy", "--image", "nginx:1").done()
    result = here.run("deploy", "--image", "nginx:2", "--machine", "node-1", "--replicas", "2").done()
    assert "💡 Changed: image nginx:1 → nginx:2; machines any → node-1; replicas 1 → 2\n" in result.stderr
    assert "Changed" not in here.run("deploy", "--image", "nginx:2").done().stderr
    assert "machines node-1 → any" in here.run("deploy", "--machine", "").done().stderr


def test_the_readiness_probe_is_removed_by_name_and_not_by_an_empty_variable(here: Cli) -> None:
    write_toml(here.cwd, "base")
    here.run("deploy", "--image", "nginx:1", "--health-path", "/up").done()
    refused = here.run("deploy", "--image", "nginx:2", "--health-path", "").failed(2)
    assert "--health-path is empty\n" in refused.error
    assert "To remove the probe: --health-path none" in refused.error
    assert "💡 Changed: health_path /up → none\n" in here.run("deploy", "--health-path", "none").done().stderr


def test_environment_and_secrets_that_reach_pods_with_a_release_are_told_by_their_keys(here: Cli) -> None:
    write_toml(here.cwd, "base")
    here.run("deploy", "--image", "nginx:1", "--env", "LEVEL=info").done()
    here.run("env", "create", "--env", "LEVEL=debug").done()
    here.run("secret", "create", "--key", "TOKEN", input="value\n").done()
    told = here.run("deploy", "--env", "COLOUR=red").done().stderr
    assert "💡 Changed: env COLOUR added; env LEVEL changed; secret TOKEN added\n" in told


def test_a_name_on_the_command_line_wins_over_the_files(here: Cli) -> None:
    write_toml(here.cwd, "base")
    here.run("deploy", "--image", "nginx", "--name", "other").done()
    assert [each["app_label"] for each in here.run("-o", "json", "deploy", "list").json] == ["other"]


def test_a_file_that_was_only_found_says_nothing_about_an_app_of_another_name(here: Cli) -> None:
    write_toml(here.cwd, "base", 9000)

    def port(*args: str) -> int:
        here.run("deploy", "--image", "nginx", *args).done()
        return int(here.run("-o", "json", "deploy", "get", *args).done().json["port"])

    assert port("--name", "other") == 8080
    assert port("--name", "base") == 9000
    told = here.run("deploy", "--image", "nginx", "--name", "other").done().stderr
    assert (
        '💡 satusky.toml is about app "base", so its settings are not used for "other". '
        "To use them all the same: --config satusky.toml\n"
    ) in told
    named = here.run("deploy", "--image", "nginx", "--name", "other", "--config", "satusky.toml").done().stderr
    assert "💡 Changed: cpu 0.5 → 0.25; memory 256Mi → 128Mi; port 8080 → 9000\n" in named
    assert "is about app" not in named


def test_a_deployment_id_needs_no_file(deployed: Cli, tmp_path: Path) -> None:
    elsewhere = deployed.within(tmp_path)
    identity = deployed.run("-o", "json", "deploy", "get").json["deployment_id"]
    assert elsewhere.run("-o", "json", "deploy", "get", "-d", identity).done().json["app_label"] == "user-service"
    elsewhere.run("deploy", "--image", "nginx:2", "--deployment-id", identity).done()
    assert len(elsewhere.run("deploy", "releases", "-d", identity).done().lines) == 4


# Of a life that has ended


@pytest.fixture
def ended(deployed: Cli) -> tuple[Cli, str]:
    """A user whose app was destroyed and deployed again, and the id of its first life."""
    identity = deployed.run("-o", "json", "deploy", "get").json["deployment_id"]
    deployed.run("deploy", "destroy", "-y").done()
    deployed.run("deploy", "--image", "nginx:2").done()
    return deployed, identity


@pytest.mark.parametrize(
    "args",
    [
        ["deploy", "get"],
        ["deploy", "status"],
        ["deploy", "restart"],
        ["deploy", "destroy", "-y"],
        ["deploy", "--image", "nginx:3"],
        ["env", "list"],
    ],
)
def test_the_id_of_a_destroyed_life_does_not_mean_the_one_that_runs_now(
    ended: tuple[Cli, str], args: list[str]
) -> None:
    cli, identity = ended
    error = cli.run(*args, "--deployment-id", identity).failed(3).error
    assert f'deployment "{identity}" of app "user-service" was destroyed' in error
    assert f"1ctl deploy releases --deployment-id {identity}" in error
    assert cli.run("-o", "json", "deploy", "get").done().json["image"] == "nginx:2"


def test_its_releases_are_still_there(ended: tuple[Cli, str]) -> None:
    cli, identity = ended
    assert cli.run("deploy", "releases", "-d", identity).done().lines[-1].split()[:2] == ["1", "nginx:alpine"]


def test_an_app_is_known_by_its_name_wherever_one_stands(cli: Cli, tmp_path: Path) -> None:
    elsewhere = cli.within(tmp_path)
    elsewhere.run("deploy", "--name", "other", "--image", "nginx:1").done()
    for command in (
        ["deploy", "get"],
        ["deploy", "releases"],
        ["deploy", "status"],
        ["env", "create", "--env", "A=1"],
        ["env", "list"],
        ["deploy", "scale", "--replicas", "2"],
        ["audit", "prove", "--release", "1"],
        ["deploy", "destroy", "-y"],
    ):
        assert "user-service" not in elsewhere.run(*command, "--name", "other").done().stdout
    assert 'app "user-service" not found' in elsewhere.run("deploy", "get", "--name", "user-service").failed(3).error
    both = elsewhere.run("deploy", "get", "--name", "other", "-d", "x").failed(2)
    assert "--name and --deployment-id exclude each other" in both.error


def test_hints_name_the_app_as_it_was_named(cli: Cli, tmp_path: Path) -> None:
    elsewhere = cli.within(tmp_path)
    done = elsewhere.run("deploy", "--name", "other", "--image", "nginx:1", "--detach").done()
    assert "'1ctl deploy status --name other'" in done.stdout + done.stderr
