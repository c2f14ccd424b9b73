"""Whatever the ledger answered once, it answers again when asked about that moment: byte for byte."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from cli.moment import parse_time
from tests.cli import in_process
from tests.cli.story import LISTS, Story, told
from tests.cli_support import Cli
from tests.faults import dose


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    return told(tmp_path_factory.mktemp("story"))


@dose.not_few("every question is asked at every position")
def test_every_read_at_every_position_gives_the_answer_it_gave_then(story: Story) -> None:
    for position, answers in story.answers.items():
        for (app, *read), (code, answer) in answers.items():
            assert story.ask(app, *read, "--at-position", str(position)) == (code, answer), (position, app, read)


def test_answers_about_the_past_survive_a_rebuild(story: Story) -> None:
    assert story.run("user-service", "ledger", "rebuild").code == 0
    for position, answers in story.answers.items():
        for read in LISTS:
            assert story.ask("user-service", *read, "--at-position", str(position)) == answers["user-service", *read]
    newest = story.answers[max(story.answers)]
    assert story.ask("user-service", "deploy", "list") == newest["user-service", "deploy", "list"]


def test_the_story_has_three_lives_and_twelve_releases(story: Story) -> None:
    lives = json.loads(story.ask("user-service", "deploy", "list", "--all")[1])
    assert len(lives) == 3
    releases = [
        json.loads(story.ask("user-service", "deploy", "releases", "--deployment-id", life["deployment_id"])[1])
        for life in lives
    ]
    assert sum(map(len, releases)) == 12


def test_the_domain_at_release_1_is_known_also_after_destroy_and_recreate(story: Story) -> None:
    first, _, second = json.loads(story.ask("user-service", "deploy", "list", "--all")[1])
    told = story.ask("user-service", "deploy", "get", "--at-release", "1", "--deployment-id", first["deployment_id"])
    begun = json.loads(story.answers[min(story.answers)]["user-service", "deploy", "get"][1])
    assert json.loads(told[1])["domain"] == begun["domain"]
    now = json.loads(story.ask("user-service", "deploy", "get")[1])
    assert now["deployment_id"] == second["deployment_id"]
    assert now["domain"] != begun["domain"]


def test_a_release_is_shown_as_it_last_was_while_it_was_the_newest(story: Story) -> None:
    first = json.loads(story.ask("user-service", "deploy", "list", "--all")[1])[0]["deployment_id"]
    named = ("--deployment-id", first)
    assert json.loads(story.ask("user-service", "deploy", "get", "--at-release", "2", *named)[1])["replicas"] == 2
    secrets = json.loads(story.ask("user-service", "secret", "list", "--at-release", "4", *named)[1])
    assert [(each["key"], each["version"]) for each in secrets[0]["versions"]] == [("JWT", 2), ("KEY2", 1)]


def test_times_are_understood_and_said(story: Story) -> None:
    result = story.run("order-service", "deploy", "get", "--as-of", "0s ago")
    assert result.code == 0
    assert "As of position" in result.stderr
    early = story.run("order-service", "deploy", "get", "--as-of", "2001-01-01")
    assert early.code == 3
    assert "nothing was recorded by then" in early.stderr


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("--at-release", "9"), 3, "there is no release 9; the newest is"),
        (("--at-position", "0"), 3, "there is no position 0"),
        (("--at-position", "99999"), 3, "there is no position 99999"),
        (("--at-release", "0"), 3, "there is no release 0"),
        (("--as-of", "yesterdayish"), 3, "is not a time"),
        (("--as-of", "0001-01-01T00:00"), 3, ""),
        (("--as-of", "99999999999999w ago"), 3, "nothing was recorded by then"),
        (("--as-of", "9999-12-31T23:59:59-14:00"), 3, ""),
        (("--as-of", "2099-01-01"), 3, "lies in the future"),
        (("--as-of", "1h ago", "--at-release", "1"), 2, "exclude each other"),
        (("--deployment-id", "00000000-0000-0000-0000-000000000000"), 3, "no deployment"),
    ],
)
def test_impossible_questions_are_clear_errors(story: Story, args: tuple[str, ...], code: int, words: str) -> None:
    result = story.run("user-service", "deploy", "get", *args)
    assert result.code == code
    assert words in result.stderr
    assert result.stdout == ""


def test_what_is_no_time_is_told_with_times_that_are(story: Story) -> None:
    early = story.run("user-service", "deploy", "get", "--as-of", "2001-01-01")
    first = story.run("user-service", "-o", "json", "audit", "log", "--limit", "99999")
    when = datetime.fromisoformat(json.loads(first.stdout)[0]["recorded_at"]).astimezone()
    assert f"The first event is of {when.isoformat(sep=' ', timespec='seconds')}." in early.stderr
    for args in (("deploy", "get", "--as-of", "x"), ("audit", "log", "--since", "x"), ("audit", "log", "--until", "x")):
        refused = story.run("user-service", *args)
        assert refused.code == 3
        assert "Examples: 2026-05-01T12:00:00+02:00, " in refused.stderr
    refused = story.run("user-service", "deploy", "diff", "one", "2")
    assert (refused.code, refused.stderr.splitlines()[0]) == (3, '❌ "one" is not a release, a position or a time')


def test_a_time_that_is_copied_from_the_log_finds_what_it_stands_beside(story: Story) -> None:
    everything = story.run("user-service", "audit", "log", "--limit", "99999").stdout.splitlines()[2:]
    shown = {int(row.split()[0]): " ".join(row.split()[1:3]) for row in everything}
    assert len(shown) == story.position()
    for copied in set(shown.values()):
        beside = [position for position, when in shown.items() if when == copied]
        result = story.run("user-service", "deploy", "list", "--as-of", copied)
        assert result.stderr.startswith(f"💡 As of position {beside[-1]}, {copied}\n")
        found = json.loads(story.ask("user-service", "audit", "log", "--since", copied, "--until", copied)[1])
        assert [each["position"] for each in found] == beside


def test_a_time_to_the_second_compares_with_what_was_changed_in_it(story: Story) -> None:
    (set_,) = json.loads(story.ask("order-service", "audit", "log", "--kind", "EnvSet", "--key", "URL")[1])
    before, copied = f"@{set_['position'] - 1}", set_["recorded_at"].split(".")[0] + "Z"
    changes = json.loads(story.ask("order-service", "deploy", "diff", before, copied)[1])
    assert "env.URL" in {each["setting"] for each in changes}


def test_the_time_of_the_first_event_that_a_refusal_names_is_one_to_ask_about(story: Story) -> None:
    early = story.run("user-service", "deploy", "list", "--as-of", "2001-01-01")
    first = early.error.removesuffix(".\n").partition("The first event is of ")[2]
    assert "As of position " in story.run("user-service", "deploy", "list", "--as-of", first).done().stderr


def test_a_time_without_an_offset_is_local(story: Story) -> None:
    """At one instant, named in two zones and by its offset."""
    (recorded,) = json.loads(story.run("user-service", "-o", "json", "audit", "log", "--limit", "1").stdout)
    instant = datetime.fromisoformat(recorded["recorded_at"])
    asked = []
    for zone in ("UTC", "Asia/Kolkata", "America/St_Johns"):
        local = instant.astimezone(ZoneInfo(zone)).replace(tzinfo=None).isoformat()
        cli = Cli(story.root / "home", story.root / "user-service", {"TZ": zone})
        asked.append(cli.run("-o", "json", "deploy", "get", "--as-of", local).done())
    assert [each.stderr.split(",")[0] for each in asked] == [f"💡 As of position {recorded['position']}"] * 3
    assert len({each.stdout for each in asked}) == 1


def test_lists_of_all_apps_take_a_release_of_the_app_of_this_directory(story: Story) -> None:
    one = story.run("order-service", "-o", "json", "deploy", "get", "--at-release", "2")
    position = one.stderr.split("position ")[1].split(",")[0]
    for args in (
        ("deploy", "list"),
        ("deploy", "list", "--all"),
        ("env", "list", "--all"),
        ("secret", "list", "--all"),
    ):
        by_release = story.run("order-service", "-o", "json", *args, "--at-release", "2")
        by_position = story.run("order-service", "-o", "json", *args, "--at-position", position)
        assert (by_release.code, by_release.stdout) == (0, by_position.stdout)
        assert f"As of position {position}, " in by_release.stderr
    nowhere = in_process.run(
        "deploy", "list", "--at-release", "1", cwd=story.root, env={"ONECTL_HOME": str(story.root / "home")}, stdin=""
    )
    assert (nowhere.code, nowhere.stdout) == (3, "")
    assert "there is no satusky.toml here or above" in nowhere.stderr


def test_rollback_restored_image_and_configuration_and_the_failed_release_is_told(story: Story) -> None:
    first = json.loads(story.ask("user-service", "deploy", "list", "--all")[1])[0]["deployment_id"]
    releases = json.loads(story.ask("user-service", "deploy", "releases", "--deployment-id", first)[1])
    by_number = {each["version_number"]: each for each in releases}
    assert by_number[4]["restores"] == 2
    assert by_number[4]["image"] == "user:2"
    assert by_number[3]["outcome"] == "failed"
    assert by_number[3]["failure_reason"] == "ImagePullBackOff"
    assert by_number[2]["rollback"] == {"possible": False, "obstacle": "it was marked as bad: slow"}
    assert by_number[2]["actor"] == "ann"
    assert by_number[2]["reason"] == "faster"
    assert "image user:1 → user:2" in by_number[2]["changes"]
    assert by_number[4]["configuration"]["in_pods"]["secrets"]["JWT"]["version"] == 1
    assert by_number[4]["configuration"]["set"]["secrets"]["JWT"]["version"] == 2


def test_a_wide_list_of_releases_tells_all_that_is_known_of_each(story: Story) -> None:
    first = json.loads(story.ask("user-service", "deploy", "list", "--all")[1])[0]["deployment_id"]
    shown = story.run("user-service", "deploy", "releases", "--deployment-id", first, "--wide")
    header, rule, *lines = shown.stdout.splitlines()
    columns = [slice(*match.span()) for match in re.finditer("─+", rule)]
    rows = [{header[each].strip(): line[each].strip() for each in columns} for line in lines]
    fourth, third, second, _ = rows
    assert (third["OUTCOME"], third["STATUS"]) == (
        'failed: ImagePullBackOff: Back-off pulling image "broken:3"',
        "failed",
    )
    assert re.fullmatch(r"seen healthy after \d+\.\d s", second["OUTCOME"])
    assert (second["IN PODS"], fourth["IN PODS"]) == ("JWT@1, KEY2@1", "JWT@1, KEY2@1")
    assert (second["ACTOR"], second["REASON"], second["ROLLBACK"]) == ("ann", "faster", "it was marked as bad: slow")
    assert second["DOMAIN"].endswith(".satusky.com")
    assert second["DIGEST"].startswith("sha256:")
    assert (second["COMMIT"], second["CI"]) == ("-", "-")


def test_fingerprints_tell_new_values_from_old_ones(story: Story) -> None:
    first = json.loads(story.ask("user-service", "deploy", "list", "--all")[1])[0]["deployment_id"]
    releases = json.loads(story.ask("user-service", "deploy", "releases", "--deployment-id", first)[1])
    configuration = next(each for each in releases if each["version_number"] == 4)["configuration"]
    then, now = (configuration[when]["secrets"]["JWT"]["fingerprint"] for when in ("in_pods", "set"))
    assert then
    assert now
    assert then != now


def test_diff_and_blame_name_what_changed_and_who_changed_it(story: Story) -> None:
    code, answer = story.ask("order-service", "deploy", "diff", "2", "3")
    assert code == 0
    changes = {each["setting"]: (each["before"], each["after"]) for each in json.loads(answer)}
    assert changes["image"] == ("order:2", "order:3")
    blamed = json.loads(story.ask("order-service", "deploy", "blame", "image")[1])
    assert [(each["value"], each["kind"], each["actor"]) for each in blamed] == [("order:1", "RolledBack", "ann")]


def test_a_deployment_is_not_compared_with_another_one_of_its_app(story: Story) -> None:
    first, _, second = (
        each["deployment_id"] for each in json.loads(story.ask("user-service", "deploy", "list", "--all")[1])
    )
    (ended,) = json.loads(story.ask("user-service", "audit", "log", "--kind", "Destroyed")[1])
    assert story.ask("user-service", "deploy", "diff", "1", "2", "-d", first)[0] == 0
    then = f"was not open at position {story.position()}"
    for moments, life, words in (
        (("1",), first, "was destroyed"),
        (("now", "1"), first, "was destroyed"),
        (("0s ago", "1"), first, then),
        (("1", f"@{story.position()}"), first, then),
        (("1", f"@{ended['position']}"), first, f"was not open at position {ended['position']}"),
        ((f"@{ended['position'] - 1}", "1"), second, f"was not open at position {ended['position'] - 1}"),
    ):
        refused = story.run("user-service", "deploy", "diff", *moments, "-d", life)
        assert (refused.code, refused.stdout) == (3, "")
        assert f'deployment "{life}"' in refused.error
        assert words in refused.error


Check = Callable[[dict[str, object]], bool]


@pytest.mark.parametrize(
    ("args", "check"),
    [
        (("--app", "order-service"), lambda each: each["app"] == "order-service"),
        (("--kind", "Deployed"), lambda each: each["kind"] == "Deployed"),
        (("--kind", "rolledback", "--kind", "Scaled"), lambda each: each["kind"] in ("RolledBack", "Scaled")),
        (("--actor", "ann"), lambda each: each["actor"] == "ann"),
        (("--key", "JWT"), lambda each: "JWT" in str(each["data"])),
    ],
)
def test_the_audit_log_is_filtered_without_losing_order(story: Story, args: tuple[str, ...], check: Check) -> None:
    everything = json.loads(story.ask("user-service", "audit", "log")[1])
    assert [each["position"] for each in everything] == list(range(1, len(everything) + 1))
    found = json.loads(story.ask("user-service", "audit", "log", *args)[1])
    assert found
    assert all(map(check, found))
    assert [each for each in everything if check(each)] == found
    limited = json.loads(story.ask("user-service", "audit", "log", *args, "--limit", "2")[1])
    assert limited == found[-2:]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s ago", 90), ("2 minutes ago", 120), ("3h ago", 10_800), ("1 day ago", 86_400), ("2 weeks ago", 1_209_600)],
)
def test_an_age_is_as_long_as_it_says(text: str, seconds: int) -> None:
    assert parse_time(text, 10**16) == 10**16 - seconds * 1_000_000


def test_blame_of_what_was_never_set_is_refused(deployed: Cli) -> None:
    deployed.run("env", "create", "--env", "A=1").done()
    refused = deployed.run("deploy", "blame", "NOPE").failed(3)
    assert refused.error.startswith('❌ NOPE was never set for app "user-service"\nSettings that have a value: cpu, ')
    assert "env.A" in refused.error


def test_blame_of_what_is_not_set_any_more_names_who_unset_it(deployed: Cli) -> None:
    deployed.run("env", "create", "--env", "A=1").done()
    deployed.run("env", "unset", "--key", "A").done()
    assert deployed.run("deploy", "blame", "A").done().stdout.startswith("💡 A is not set any more: EnvUnset @")
    assert deployed.run("-o", "json", "deploy", "blame", "A").done().json == []


def test_blame_of_a_setting_that_an_app_need_not_have_says_that_it_is_not_set(deployed: Cli) -> None:
    assert deployed.run("deploy", "blame", "health_path").done().stdout == "💡 health_path is not set\n"
