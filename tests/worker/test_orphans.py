"""`1ctl ledger orphans`: what carries our label and no event asks for, on both clusters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from effects.cluster import APP_LABEL, LEDGER_LABEL, LIFE_LABEL, Page, Ref
from effects.orphans import orphans
from ledger.app import App
from ledger.commands import Destroy, SetEnv
from ledger.events import EnvSet
from ledger.spec import AppId
from tests.cli_support import Cli, write_toml
from tests.effects.worlds import GATEWAY, Meddled, World, image, request


def found(world: World) -> dict[str, str]:
    """Why each is one, by its name."""
    return {str(each.ref): each.why for each in orphans(world.ledger, world.cluster, world.namespace, GATEWAY)}


def put(world: World, name: str, **labels: str) -> Ref:
    """A ConfigMap with these labels."""
    metadata = {"name": name, "namespace": world.namespace, "labels": labels}
    world.cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}, manager="late", expect=None)
    return Ref("ConfigMap", world.namespace, name)


def labels(world: World, life: str) -> dict[str, str]:
    return {APP_LABEL: world.app_id.name, LEDGER_LABEL: world.ledger.ledger_id() or "", LIFE_LABEL: life}


def test_what_is_in_order_has_no_orphans(world: World) -> None:
    world.do(image(env={"A": "1"}))
    put(world, "theirs", **{LEDGER_LABEL: "another-ledger"})
    assert found(world) == {}


def test_objects_that_no_event_explains_are_named_with_the_reason(world: World) -> None:
    world.do(image())
    life = world.life.deployment_id
    put(world, "stray", **labels(world, "unknown"))
    put(world, "unlabelled", **{LEDGER_LABEL: world.ledger.ledger_id() or ""})
    put(world, "extra", **labels(world, life))
    unknown = "no event of this ledger names its deployment"
    assert found(world) == {
        "configmap/stray": unknown,
        "configmap/unlabelled": unknown,
        "configmap/extra": "the app does not ask for it any more",
    }
    world.do(Destroy())
    put(world, "late", **labels(world, life))
    assert found(world)["configmap/late"] == "its deployment was destroyed"


def test_what_is_still_to_be_applied_or_removed_is_no_orphan(world: World) -> None:
    world.do(image())
    put(world, "extra", **labels(world, world.life.deployment_id))
    world.ask(image("nginx:2"))
    assert found(world) == {}
    world.reconcile()
    world.ask(Destroy())
    assert found(world) == {}


def test_a_copy_that_pods_read_is_none_although_a_value_in_it_was_redacted(world: World) -> None:
    world.do(image(env={"NOTE": "swordfish"}))
    world.settle()
    (redacted,) = (line for line in world.ledger.history(world.app_id) if isinstance(line.event, EnvSet))
    world.ledger.redact(redacted.position, "values.NOTE", request())
    world.ask(SetEnv(values={"NOTE": "harmless"}))
    world.do(image("broken:1"))  # so the pods before go on serving
    assert len(world.copies("ConfigMap")) == 2
    assert found(world) == {}


def test_an_app_is_read_once_for_all_its_objects_and_again_before_one_is_called_an_orphan(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.do(image(env={"A": "1"}))
    put(world, "zz-last", **labels(world, world.life.deployment_id))
    real, reads = world.ledger.app, []

    def app(app_id: AppId) -> App:
        reads.append(app_id)
        return real(app_id)

    monkeypatch.setattr(world.ledger, "app", app)
    assert set(found(world)) == {"configmap/zz-last"}
    assert len(reads) == 2


class Deployed(Meddled):
    """A cluster in which an app is deployed anew while its objects are listed."""

    def __init__(self, world: World) -> None:
        super().__init__(world.cluster)
        self.world = world

    def pages(self, kind: str, namespace: str, *, ledger_id: str, limit: int = 500) -> Iterator[Page]:
        yield from super().pages(kind, namespace, ledger_id=ledger_id, limit=limit)
        if kind == "ConfigMap":
            self.world.do(image("nginx:2", env={"A": "2"}))
            yield from super().pages(kind, namespace, ledger_id=ledger_id, limit=limit)


def test_what_is_asked_for_meanwhile_is_no_orphan(world: World) -> None:
    world.do(image(env={"A": "1"}))
    before = world.copies("ConfigMap")
    assert not list(orphans(world.ledger, Deployed(world), world.namespace, GATEWAY))
    assert world.copies("ConfigMap") != before


def test_an_empty_ledger_has_none(world: World) -> None:
    assert found(world) == {}


def test_the_command_shows_them(tmp_path: Path) -> None:
    write_toml(tmp_path / "svc", "user-service")
    cli = Cli(tmp_path / "home", tmp_path / "svc")
    cli.run("deploy", "--image", "nginx:1").done()
    assert "No orphans" in cli.run("ledger", "orphans").done().stdout
    assert cli.run("-o", "json", "ledger", "orphans").done().json == []
    ledger_id = next(
        each["data"]["ledger_id"]
        for each in cli.run("-o", "json", "audit", "log").json
        if each["kind"] == "LedgerCreated"
    )
    cluster = cli.cluster()
    metadata = {"name": "stray", "namespace": "default", "labels": {LEDGER_LABEL: ledger_id}}
    cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}, manager="late", expect=None)
    cluster.close()
    (orphan,) = cli.run("-o", "json", "ledger", "orphans").done().json
    assert (orphan["kind"], orphan["name"], orphan["deployment_id"]) == ("ConfigMap", "stray", None)
    assert "configmap/stray" in cli.run("ledger", "orphans").done().stdout
