"""Open a new life that runs what a destroyed one last ran."""

from __future__ import annotations

from dataclasses import replace

from ledger.commands import Restore
from ledger.errors import AppNotFoundError
from ledger.events import Destroyed, DomainAssigned, EnvSet, Scaled, SecretSet
from ledger.spec import Spec
from tests.decisions.scenario import FIRST_LIFE, NEXT_DOMAIN, NEXT_LIFE, deployed, given, opened, sealed

SPEC = Spec(image="orders:1", machines=("m-1",), cpu="0.25")
LIFE = (*opened(SPEC), EnvSet(values={"A": "1"}), Scaled(replicas=3))
BACK = replace(deployed(life=NEXT_LIFE, spec=replace(SPEC, replicas=3)), restored_from=FIRST_LIFE)


def test_image_resources_and_environment_come_back_under_a_new_id_and_domain() -> None:
    given(*LIFE, Destroyed()).when(Restore()).then(BACK, DomainAssigned(domain=NEXT_DOMAIN), EnvSet(values={"A": "1"}))


def test_shredded_secrets_are_asked_for_by_name() -> None:
    facts = (*LIFE, SecretSet(secrets={"KEY": sealed(1)}), Destroyed())
    given(*facts).when(Restore()).refused("were shredded when it was destroyed: KEY", hint="--kv-file")
    again = {"KEY": sealed(1, "again")}
    given(*facts).when(Restore(secret_keys=("KEY",)), secrets=again).then(
        BACK, DomainAssigned(domain=NEXT_DOMAIN), EnvSet(values={"A": "1"}), SecretSet(secrets=again)
    )


def test_secrets_can_be_left_out_on_purpose() -> None:
    facts = (*opened(SPEC), SecretSet(secrets={"KEY": sealed(1)}), Destroyed())
    given(*facts).when(Restore(without_secrets=True)).then(replace(BACK, spec=SPEC), DomainAssigned(domain=NEXT_DOMAIN))


def test_a_secret_that_is_an_environment_value_too_is_refused() -> None:
    given(*LIFE, Destroyed()).when(Restore(secret_keys=("A",)), secrets={"A": sealed(1)}).refused("A is an environment")


def test_an_app_that_is_deployed_is_refused() -> None:
    given(*LIFE).when(Restore()).refused("only a destroyed one can be restored", hint="rollback")


def test_an_app_that_never_was_is_not_found() -> None:
    given().when(Restore()).refused("no destroyed deployment", error=AppNotFoundError)


def test_a_former_life_of_an_app_that_is_deployed_again_is_not_to_be_rolled_back_to() -> None:
    again = (*LIFE, Destroyed(), BACK, DomainAssigned(domain=NEXT_DOMAIN))
    former = given(*again).when(Restore(deployment_id=FIRST_LIFE))
    former.refused("only a destroyed one can be restored", hint=f"1ctl deploy releases -d {FIRST_LIFE}")
    former.refused("only a destroyed one can be restored", hint=f"1ctl deploy destroy -d {NEXT_LIFE}")
    given(*again).when(Restore(deployment_id=NEXT_LIFE)).refused("only a destroyed one", hint="1ctl deploy rollback")
