"""``--wait``, on whatever makes pods: 0 once they are ready, 4 if they will not be, 5 if not in time; in both modes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from cli.answers import sentence
from effects.cluster import Ref
from tests.cli.test_exit_codes import read_until
from tests.cli_support import Cli
from tests.worker.commands import worker


@pytest.fixture(params=["inline", "resident"])
def user(request: pytest.FixtureRequest, cli: Cli) -> Iterator[Cli]:
    """A user whose commands apply what they record, and one whose worker does."""
    if request.param == "inline":
        yield cli
    else:
        with worker(cli):
            yield cli


SHOP = Ref("Deployment", "default", "user-service")
HEALTHY = "✅ Deployment is healthy — pods Running"


def test_a_restart_and_a_scale_wait_for_their_pods(user: Cli) -> None:
    user.run("deploy", "--image", "nginx:1", "--wait").done()
    assert user.run("deploy", "restart", "--wait").done().lines[-1] == HEALTHY
    assert user.run("deploy", "scale", "--replicas", "3", "--wait").done().lines[-1] == HEALTHY
    cluster = user.cluster()
    rollout = cluster.rollout(SHOP)
    cluster.close()
    assert rollout is not None
    assert (rollout.complete, rollout.ready) == (True, 3)


def test_a_scale_that_changes_nothing_waits_all_the_same(user: Cli) -> None:
    user.run("deploy", "--image", "held:1").done()
    held = user.run("deploy", "scale", "--replicas", "1", "--wait", "--timeout", "0.5s").failed(5)
    assert "the pods were not ready within 0.5 s" in held.error


def test_pods_that_fail_end_a_restart_and_a_restore_with_4(user: Cli) -> None:
    user.run("deploy", "--image", "broken:1").done()
    assert "release 1 failed: ImagePullBackOff" in user.run("deploy", "restart", "--wait").failed(4).error
    user.run("deploy", "destroy", "-y").done()
    assert "release 1 failed: ImagePullBackOff" in user.run("deploy", "restore", "--wait").failed(4).error


def test_pods_that_are_late_end_a_restart_with_5(user: Cli) -> None:
    user.run("deploy", "--image", "held:1").done()
    # Asked for again once it is applied, so that the time is for the pods alone.
    restart = ("deploy", "restart", "--request-id", "r1")
    user.run(*restart).done()
    user.run(*restart, "--wait", "--timeout", "0.5s").failed(5)


RESUME = "DeploymentPaused: somebody paused it; go on with kubectl -n default rollout resume deployment/user-service"


def test_the_status_of_a_paused_deployment_says_how_to_go_on_and_calls_no_release_failed(user: Cli) -> None:
    user.run("deploy", "--image", "broken:1", "--wait").failed(4)
    edit(user, {"paused": True})
    paused = ("deploy", "--image", "nginx:2", "--request-id", "r1")
    user.run(*paused).done()
    user.run(*paused, "--wait", "--timeout", "0.5s").failed(5)
    assert f"0 of 1 pods are ready ({RESUME})" in user.run("deploy", "status").done().stdout
    assert user.run("deploy", "events").done().stdout.count("RolloutFailed") == 1
    edit(user, {"paused": None})
    user.run("deploy", "status", "--wait").done()


def test_who_waits_for_pods_of_a_paused_deployment_is_told_how_to_go_on(cli: Cli) -> None:
    cli.run("deploy", "--image", "nginx:1", "--wait").done()
    edit(cli, {"paused": True})
    waited = cli.run("deploy", "--image", "nginx:2", "--wait", "--timeout", "0.5s").failed(5)
    assert f"the pods were not ready within 0.5 s (0 of 1 ready): {RESUME}" in waited.error


def test_pods_of_an_earlier_release_that_somebody_brought_back_end_no_wait_with_0(cli: Cli) -> None:
    cli.run("deploy", "--image", "nginx:1", "--wait").done()
    before = deployment_of(cli)
    cli.run("deploy", "--image", "held:2").done()
    edit(cli, {"template": before["spec"]["template"]})
    late = cli.run("deploy", "status", "--wait", "--timeout", "1s").failed(5)
    assert "Progress:      0%" in late.stdout
    assert (
        "the pods were not ready within 1 s: 0 of 1 pods are ready (DeploymentEdited: somebody changed it" in late.error
    )
    assert "1ctl deploy diff live" in late.error
    assert cli.run("deploy", "events").done().stdout.count("RolloutCompleted") == 1
    live = cli.run("deploy", "diff", "live").done().stdout
    assert "spec.template.metadata.annotations.1ctl.dev/roll" in live
    assert re.search(r"containers.user-service.image +held:2 +nginx:1", live)


def deployment_of(cli: Cli) -> Any:
    """The Deployment as it is."""
    cluster = cli.cluster()
    found = cluster.read(SHOP)
    cluster.close()
    return found


def edit(cli: Cli, spec: dict[str, object]) -> None:
    """Somebody changes the Deployment by hand."""
    cluster = cli.cluster()
    cluster.edit(SHOP, {"spec": spec})
    cluster.close()


def test_a_status_waits_for_the_pods_of_whatever_is_newest(user: Cli) -> None:
    user.run("deploy", "--image", "nginx:1", "--detach").done()
    done = user.run("-o", "json", "deploy", "status", "--wait").done().json
    assert (done["status"], done["progress"], done["applied"]) == ("Running", 100, "yes")
    user.run("deploy", "--image", "broken:2", "--detach").done()
    failed = user.run("-o", "json", "deploy", "status", "--wait").failed(4)
    assert (failed.json["status"], failed.json["release"]) == ("Failed", 2)
    assert "the pods will not become ready: Release 2: ImagePullBackOff" in failed.error
    assert user.run("deploy", "status").code == 0
    user.run("deploy", "--image", "held:3").done()
    late = user.run("deploy", "status", "--wait", "--timeout", "0.5s").failed(5)
    assert "the pods were not ready within 0.5 s" in late.error
    assert "Status:        NotReady" in late.stdout


def test_a_scale_that_another_one_overtook_was_not_done(cli: Cli) -> None:
    cli.run("deploy", "--image", "nginx:1", "--wait").done()
    scale = ("deploy", "scale", "--replicas", "3", "--request-id", "s1")
    cli.run(*scale).done()
    cli.run("deploy", "scale", "--replicas", "2").done()
    assert "3 replicas are not what is asked for any more" in cli.run(*scale, "--wait").failed(4).error


SUPERSEDED = "release 1 was superseded before its pods were ready"
DESTROYED = "deployment <id> was destroyed by eve while its pods were waited for"
EVENTS = "deploy events --deployment-id <id>"


@pytest.mark.parametrize(
    ("since", "told", "see"),
    [
        (
            ["deploy --image nginx:2", "deploy --image nginx:3"],
            f"{SUPERSEDED}: eve asked for release 2",
            "deploy releases --wide",
        ),
        (["deploy restart"], f"{SUPERSEDED}: the same release was restarted", "deploy events"),
        (["deploy destroy -y"], DESTROYED, EVENTS),
        (["deploy destroy -y", "deploy --image nginx:2"], DESTROYED, EVENTS),
    ],
)
def test_who_waits_in_vain_hears_what_was_done_instead_and_by_whom(
    user: Cli, since: list[str], told: str, see: str
) -> None:
    with user.start("deploy", "--image", "held:1", "--wait") as waiting:
        read_until(waiting, "Waiting for deployment")
        deployment_id = user.run("-o", "json", "deploy", "get").done().json["deployment_id"]
        for command in since:
            user.having(ONECTL_ACTOR="eve").run(*command.split()).done()
        _, err = waiting.communicate(timeout=30)
    told, see = (text.replace("<id>", deployment_id) for text in (told, see))
    assert waiting.returncode == 4
    assert err.decode().endswith(f"❌ {told}\nSee why: 1ctl {see}\n")
    assert "eve" in user.run(*see.split()).done().stdout


@pytest.mark.parametrize("since", [["deploy destroy -y"], ["deploy destroy -y", "deploy --image nginx:2"]])
@pytest.mark.parametrize("is_named", [True, False])
def test_a_status_that_waits_for_a_deployment_answers_for_no_other(user: Cli, since: list[str], is_named: bool) -> None:
    user.run("deploy", "--image", "held:1", "--detach").done()
    deployment_id = user.run("-o", "json", "deploy", "get").done().json["deployment_id"]
    with user.start("deploy", "status", "--wait", *(["-d", deployment_id] if is_named else [])) as waiting:
        read_until(waiting, "Waiting for deployment")
        for command in since:
            user.having(ONECTL_ACTOR="eve").run(*command.split()).done()
        _, err = waiting.communicate(timeout=30)
    assert waiting.returncode == 4
    told, see = (text.replace("<id>", deployment_id) for text in (DESTROYED, EVENTS))
    assert err.decode().endswith(f"❌ {told}\nSee why: 1ctl {see}\n")


def test_a_watched_deployment_that_another_one_follows_is_watched_no_more(user: Cli) -> None:
    user.run("deploy", "--image", "nginx:1", "--wait").done()
    deployment_id = user.run("-o", "json", "deploy", "get").done().json["deployment_id"]
    with user.start("deploy", "status", "--watch", "-d", deployment_id) as watching:
        read_until(watching, "Running 100%")
        user.run("deploy", "destroy", "-y").done()
        read_until(watching, "Destroyed")
        user.run("deploy", "--image", "nginx:2").done()
        _, err = watching.communicate(timeout=30)
    assert watching.returncode == 3
    assert f'deployment "{deployment_id}" of app "user-service" was destroyed' in err.decode()


def test_who_waits_for_more_pods_of_a_deployment_that_is_destroyed_hears_of_that(user: Cli) -> None:
    user.run("deploy", "--image", "nginx:1", "--wait").done()
    slow = user.having(ONECTL_SANDBOX_SECONDS="60")
    with slow.start("deploy", "scale", "--replicas", "2", "--wait") as waiting:
        read_until(waiting, "Waiting for deployment")
        user.having(ONECTL_ACTOR="eve").run("deploy", "destroy", "-y").done()
        _, err = waiting.communicate(timeout=30)
    assert waiting.returncode == 4
    assert "was destroyed by eve while its pods were waited for" in err.decode()


def test_a_scale_cannot_be_waited_for_where_nobody_can_ask_the_cluster(cli: Cli) -> None:
    cli.run("deploy", "--image", "nginx:1", "--wait").done()
    with worker(cli):
        away = cli.having(ONECTL_SANDBOX_SECONDS="soon")  # the sandbox cannot be opened with it
        scale = away.run("deploy", "scale", "--replicas", "2", "--wait").failed(5)
        assert "applied, but the pods cannot be watched" in scale.error
        unknown = away.run("deploy", "status", "--wait").failed(5)
        assert unknown.stderr.count("The cluster cannot be asked from here") == 1
        assert "it was scaled after they became ready" in unknown.error
        away.run("deploy", "restart", "--wait").done()
        known = away.run("deploy", "status", "--wait").done()
        assert "Its pods became ready when release 1 was rolled out" in known.stdout


def test_nobody_waits_for_an_app_that_is_gone(deployed: Cli) -> None:
    deployed.run("deploy", "destroy", "-y").done()
    assert 'app "user-service" not found' in deployed.run("deploy", "status", "--wait").failed(3).error


@pytest.mark.parametrize("args", [["--watch"], ["--at-release", "1"], ["--as-of", "1h ago"], ["--at-position", "1"]])
def test_a_status_that_waits_is_about_now(deployed: Cli, args: list[str]) -> None:
    error = deployed.run("deploy", "status", "--wait", *args).failed(2).error
    assert "--wait" in error
    assert "Run '1ctl deploy status --help' for usage" in error


@pytest.mark.parametrize(
    "args",
    [
        ["deploy", "--image", "nginx:2"],
        ["deploy", "--image", "nginx:2", "--detach"],
        ["deploy", "scale", "--replicas", "2"],
        ["deploy", "restart"],
        ["deploy", "rollback", "-y", "--version", "1"],
        ["deploy", "restore"],
        ["deploy", "status"],
        ["deploy", "status", "--watch"],
    ],
    ids=" ".join,
)
def test_a_time_to_wait_is_refused_where_nothing_waits(deployed: Cli, args: list[str]) -> None:
    before = deployed.events()
    error = deployed.run(*args, "--timeout", "2m").failed(2).error
    assert error == "❌ --timeout needs --wait: without it, nothing waits\nAdd --wait, or leave --timeout out.\n"
    assert deployed.events() == before


def test_an_app_without_pods_is_not_said_to_run_any(user: Cli) -> None:
    waited = user.run("deploy", "--image", "nginx:1", "--replicas", "0", "--wait").done()
    assert waited.lines[-1] == "✅ Deployment is healthy — scaled to 0, no pods"
    shown = user.run("deploy", "status").done().stdout
    assert re.search(r"^Message: +Scaled to 0: no pods are asked for$", shown, re.MULTILINE)
    past = user.run("-o", "json", "deploy", "status", "--at-release", "1").done().json
    assert (past["status"], past["message"]) == ("Running", "Scaled to 0: no pods are asked for")
    assert user.run("deploy", "scale", "--replicas", "1", "--wait").done().lines[-1] == HEALTHY
    scaled = user.run("deploy", "scale", "--replicas", "0", "--wait").done()
    assert scaled.lines[-1] == "✅ Deployment is healthy — scaled to 0, no pods"


def test_one_replica_is_not_many(cli: Cli) -> None:
    cli.run("deploy", "--image", "nginx:1", "--replicas", "2").done()
    assert re.search(r"^✅ Scaled deployment \S+ to 1 replica$", cli.run("deploy", "scale", "--replicas", "1").stdout)
    assert "already at 1 replica — no" in cli.run("deploy", "scale", "--replicas", "1").done().stdout
    assert "to 2 replicas\n" in cli.run("deploy", "scale", "--replicas", "2").done().stdout


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ('exec: "../bin/app": not found', 'StartError: exec: "../bin/app": not found.'),
        ("It has a full stop.", "StartError: It has a full stop."),
        ("", "StartError."),
    ],
)
def test_what_the_cluster_says_of_pods_is_told_as_it_is_with_one_full_stop(message: str, said: str) -> None:
    assert sentence("StartError", message) == said
