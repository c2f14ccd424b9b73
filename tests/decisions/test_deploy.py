"""Deploy: a first release opens a life; a later one keeps what is not given."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ledger.commands import Deploy
from ledger.decide import Minted, decide
from ledger.errors import InvalidValueError
from ledger.events import (
    Deployed,
    Destroyed,
    DomainAssigned,
    EnvSet,
    EnvUnset,
    ResourcesRemoved,
    Restarted,
    Scaled,
    SecretSet,
    SecretUnset,
)
from ledger.spec import Spec
from ledger.values import MAX_OBJECT_BYTES
from tests.decisions.scenario import (
    FIRST_LIFE,
    KEY,
    NEXT_DOMAIN,
    NEXT_LIFE,
    app,
    deployed,
    ended,
    given,
    opened,
    sealed,
)

FULL = Spec(
    image="orders:1",
    machines=("m1", "m2"),
    port=3000,
    cpu="2",
    memory="1Gi",
    replicas=5,
    health_path="/healthz",
    image_pull_secret="login",
)


def first(spec: Spec) -> tuple[Deployed, DomainAssigned]:
    return deployed(spec=spec, life=NEXT_LIFE), DomainAssigned(domain=NEXT_DOMAIN)


def test_the_first_deploy_opens_a_life_with_release_1_a_key_and_a_domain() -> None:
    given().when(Deploy(image="orders:1")).then(
        Deployed(deployment_id=NEXT_LIFE, release=1, spec=Spec(image="orders:1"), life_key=KEY),
        DomainAssigned(domain=NEXT_DOMAIN),
    )


def test_what_is_not_given_at_first_gets_the_default() -> None:
    spec = Spec(
        image="orders:1",
        machines=(),
        port=8080,
        cpu="0.5",
        memory="256Mi",
        replicas=1,
        health_path=None,
        image_pull_secret=None,
    )
    given().when(Deploy(image="orders:1")).then(*first(spec))


def test_everything_given_at_first_is_what_runs() -> None:
    command = Deploy(
        image="orders:1",
        machines=("m1", "m2"),
        port=3000,
        cpu="2",
        memory="1Gi",
        replicas=5,
        health_path="/healthz",
        image_pull_secret="login",
    )
    given().when(command).then(*first(FULL))


@pytest.mark.parametrize(("machines", "replicas"), [((), 1), (("m1",), 1), (("m1", "m2", "m3"), 3)])
def test_there_is_one_pod_a_machine_unless_said_otherwise(machines: tuple[str, ...], replicas: int) -> None:
    spec = Spec(image="orders:1", machines=machines, replicas=replicas)
    given().when(Deploy(image="orders:1", machines=machines)).then(*first(spec))


def test_a_machine_named_twice_is_one_machine_with_one_pod() -> None:
    spec = Spec(image="orders:1", machines=("m2", "m1"), replicas=2)
    given().when(Deploy(image="orders:1", machines=("m2", "m1", "m2"))).then(*first(spec))


def test_the_number_of_pods_given_beats_the_number_of_machines() -> None:
    spec = Spec(image="orders:1", machines=("m1", "m2"), replicas=0)
    given().when(Deploy(image="orders:1", machines=("m1", "m2"), replicas=0)).then(*first(spec))


def test_the_environment_given_comes_after_release_and_domain() -> None:
    command = Deploy(image="orders:1", env={"LOG_LEVEL": "info"})
    given().when(command).then(*first(Spec(image="orders:1")), EnvSet(values={"LOG_LEVEL": "info"}))


def test_a_redeploy_with_nothing_given_makes_a_release_that_runs_the_same() -> None:
    given(*opened(FULL)).when(Deploy()).then(deployed(2, spec=FULL))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("image", "orders:2"),
        ("machines", ("m9",)),
        ("port", 4000),
        ("cpu", "250m"),
        ("memory", "64Mi"),
        ("replicas", 0),
        ("health_path", "/ready"),
        ("image_pull_secret", "other"),
    ],
)
def test_a_redeploy_changes_what_is_given_and_nothing_else(field: str, value: Any) -> None:
    changed: Spec = replace(FULL, **{field: value})
    given(*opened(FULL)).when(Deploy(**{field: value})).then(deployed(2, spec=changed))


def test_a_redeploy_with_more_machines_keeps_the_number_of_pods() -> None:
    before = Spec(image="orders:1", machines=("m1",), replicas=1)
    after = Spec(image="orders:1", machines=("m1", "m2", "m3"), replicas=1)
    given(*opened(before)).when(Deploy(machines=("m1", "m2", "m3"))).then(deployed(2, spec=after))


def test_an_empty_health_path_takes_the_probe_away() -> None:
    given(*opened(FULL)).when(Deploy(health_path="")).then(deployed(2, spec=replace(FULL, health_path=None)))


def test_an_empty_pull_secret_takes_it_away() -> None:
    given(*opened(FULL)).when(Deploy(image_pull_secret="")).then(
        deployed(2, spec=replace(FULL, image_pull_secret=None))
    )


def test_a_redeploy_keeps_what_was_scaled_to() -> None:
    given(*opened(FULL), Scaled(replicas=7)).when(Deploy(image="orders:2")).then(
        deployed(2, spec=replace(FULL, image="orders:2", replicas=7))
    )


def test_a_redeploy_gets_no_new_domain_and_no_new_key() -> None:
    given(*opened()).when(Deploy(image="orders:2")).then(
        Deployed(deployment_id=FIRST_LIFE, release=2, spec=Spec(image="orders:2"), life_key=None)
    )


def test_releases_are_numbered_without_gaps_whatever_happens_between() -> None:
    history = [*opened(), Restarted(), Scaled(replicas=2), deployed(2), EnvSet(values={"A": "1"}), deployed(3)]
    given(*history).when(Deploy()).then(deployed(4, spec=Spec(image="orders:1")))


def test_a_deploy_after_destroy_opens_another_life_at_release_1_with_defaults() -> None:
    given(*opened(FULL), Destroyed()).when(Deploy(image="orders:9")).then(*first(Spec(image="orders:9")))


def test_a_deploy_after_destroy_needs_an_image_again() -> None:
    given(*ended()).when(Deploy(port=80)).refused("no image given", hint="--image")


def test_a_deploy_after_destroy_does_not_wait_for_the_old_objects_to_go() -> None:
    given(*ended(), ResourcesRemoved(through=3)).when(Deploy(image="a")).then(*first(Spec(image="a")))
    given(*ended()).when(Deploy(image="a")).then(*first(Spec(image="a")))


def test_the_environment_of_an_older_life_does_not_collide() -> None:
    history = [*opened(), SecretSet(secrets={"A": sealed(1)}), Destroyed()]
    given(*history).when(Deploy(image="a", env={"A": "1"})).then(*first(Spec(image="a")), EnvSet(values={"A": "1"}))


def test_a_first_deploy_without_image_is_refused() -> None:
    given().when(Deploy()).refused("no image given", hint="1ctl deploy --image")


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (Deploy(image="Not An Image"), "image"),
        (Deploy(image="a", machines=("no_machine",)), "machine"),
        (Deploy(image="a", port=0), "port"),
        (Deploy(image="a", cpu="many"), "cpu"),
        (Deploy(image="a", memory="256"), "memory"),
        (Deploy(image="a", replicas=-1), "replicas"),
        (Deploy(image="a", health_path="healthz"), "health_path"),
        (Deploy(image="a", image_pull_secret="UPPER"), "image_pull_secret"),
        (Deploy(image="a", env={"1A": "x"}), "env name"),
        (Deploy(image="a", env={"A": "x\0"}), "A must not have a NUL"),
    ],
)
def test_a_value_that_kubernetes_would_not_take_is_refused(command: Deploy, says: str) -> None:
    given().when(command).refused(says, error=InvalidValueError, hint="")
    given(*opened()).when(command).refused(says, error=InvalidValueError, hint="")


def test_an_app_name_that_no_service_can_have_is_refused() -> None:
    given(name="Orders").when(Deploy(image="a")).refused("name", error=InvalidValueError, hint="orders")


def test_names_that_would_share_a_key_in_the_cluster_are_refused() -> None:
    command = Deploy(image="a", env={"LOG_LEVEL": "1", "log_level": "2"})
    given().when(command).refused("log-level", error=InvalidValueError, hint="Rename")


def test_a_name_that_would_share_a_key_with_one_that_is_set_is_refused() -> None:
    history = [*opened(), EnvSet(values={"LOG_LEVEL": "1"})]
    given(*history).when(Deploy(env={"log_level": "2"})).refused("log-level", error=InvalidValueError)


def test_an_environment_value_with_the_name_of_a_secret_is_refused() -> None:
    history = [*opened(), SecretSet(secrets={"TOKEN": sealed(1)})]
    given(*history).when(Deploy(env={"TOKEN": "x"})).refused("TOKEN is a secret", hint="secret unset --key TOKEN")


def test_a_name_is_free_again_once_its_secret_is_unset() -> None:
    history = [*opened(), SecretSet(secrets={"TOKEN": sealed(1)}), SecretUnset(keys=("TOKEN",))]
    given(*history).when(Deploy(env={"TOKEN": "x"})).then(
        deployed(2, spec=Spec(image="orders:1")), EnvSet(values={"TOKEN": "x"})
    )


def test_more_environment_than_a_configmap_holds_is_refused() -> None:
    most = {"A": "x" * (MAX_OBJECT_BYTES - 1)}
    given().when(Deploy(image="a", env=most)).then(*first(Spec(image="a")), EnvSet(values=most))
    given().when(Deploy(image="a", env={"A": "x" * MAX_OBJECT_BYTES})).refused("1 MiB", error=InvalidValueError)


def test_what_is_set_already_counts_against_the_limit_unless_it_was_unset() -> None:
    half = "x" * (MAX_OBJECT_BYTES // 2)
    history = [*opened(), EnvSet(values={"A": half})]
    given(*history).when(Deploy(env={"B": half})).refused("1 MiB", error=InvalidValueError, hint="biggest")
    given(*history, EnvUnset(keys=("A",))).when(Deploy(env={"B": half})).then(
        deployed(2, spec=Spec(image="orders:1")), EnvSet(values={"B": half})
    )


def test_a_life_cannot_open_without_what_has_to_be_minted() -> None:
    with pytest.raises(ValueError, match="cannot open"):
        decide(Deploy(image="a"), app(), Minted())


def test_secrets_come_with_the_first_release() -> None:
    given().when(Deploy(image="orders:1", env={"A": "1"}, secret_keys=("TOKEN",)), secrets={"TOKEN": sealed(1)}).then(
        *first(Spec(image="orders:1")), EnvSet(values={"A": "1"}), SecretSet(secrets={"TOKEN": sealed(1)})
    )


def test_secrets_come_with_a_later_release_and_reach_its_pods() -> None:
    after = app(*opened(), ("again", deployed(release=2)), ("again", SecretSet(secrets={"TOKEN": sealed(1)})))
    assert after.life is not None
    assert after.life.roll.configuration.secrets == {"TOKEN": sealed(1)}


@pytest.mark.parametrize(("env", "keys"), [({"A": "1"}, ("A",)), ({}, ("B",))])
def test_a_secret_of_a_release_that_is_an_environment_value_is_refused(
    env: dict[str, str], keys: tuple[str, ...]
) -> None:
    answer = given(*opened(), EnvSet(values={"B": "1"})).when(
        Deploy(env=env, secret_keys=keys), secrets={key: sealed(1) for key in keys}
    )
    answer.refused("is an environment value of this app already", hint="1ctl env unset --key")
