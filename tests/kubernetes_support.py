"""For tests of clusters: a real API server and a namespace of their own in it, and what an error gives away."""

from __future__ import annotations

import os
import traceback
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from effects.cluster import API_VERSIONS, Ref

if TYPE_CHECKING:
    from kubernetes import client

KUBECONFIG = "ONECTL_TEST_KUBECONFIG"
REQUIRE = "ONECTL_TEST_REQUIRE"


def kubeconfig() -> Path:
    """The kubeconfig of the server to test against; without one the test is skipped, or fails if one is required."""
    named = os.environ.get(KUBECONFIG)
    if named:
        return Path(named)
    reason = f"{KUBECONFIG} does not name the kubeconfig of an API server for tests"
    if os.environ.get(REQUIRE):
        pytest.fail(f"{reason}, and {REQUIRE} is set")
    pytest.skip(reason)


def everything_told(error: BaseException) -> str:
    """All that a log or a terminal could show of an error and what led to it."""
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None:
        chain.append(current)
        current = current.__cause__ or current.__context__
    told = [f"{link} {link!r} {vars(link)!r} {link.args!r}" for link in chain]
    return "\n".join([*told, *traceback.format_exception(error)])


class Administrator:
    """Does and sees what the adapter under test must not: makes namespaces, reads Secrets.

    Works in the kubeconfig's current context.
    """

    def __init__(self, file: Path) -> None:
        from kubernetes import config  # imported here, for most tests of clusters need no client

        self.context: str = config.list_kube_config_contexts(str(file))[1]["name"]  # type: ignore[no-untyped-call]
        self._api: client.ApiClient = config.new_client_from_config(str(file), self.context)  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Close the connections."""
        self._api.rest_client.close()
        self._api.close()  # type: ignore[no-untyped-call]

    @contextmanager
    def namespace(self) -> Iterator[str]:
        """A new namespace; its deletion is asked for at the end and not waited for."""
        name = f"onectl-{uuid.uuid4().hex[:12]}"
        self._ask("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        try:
            yield name
        finally:
            self._ask("DELETE", f"/api/v1/namespaces/{name}")

    def server_version(self) -> str:
        """Of the API server, as ``1.20.2``."""
        return str(self._ask("GET", "/version")["gitVersion"]).removeprefix("v")

    def read(self, ref: Ref) -> Mapping[str, Any]:
        """The whole object."""
        return self._ask("GET", _path(ref))

    def edit(self, ref: Ref, patch: Mapping[str, Any], manager: str) -> None:
        """Change an object by hand: a merge patch in the name of a field manager."""
        self._ask("PATCH", f"{_path(ref)}?fieldManager={manager}", patch, "application/merge-patch+json")

    def objects(self, namespace: str) -> list[Mapping[str, Any]]:
        """Every object of our kinds in the namespace, whole, Secrets too."""
        found: list[Mapping[str, Any]] = []
        for kind, group in API_VERSIONS.items():
            root = f"/apis/{group}" if "/" in group else f"/api/{group}"
            items = self._ask("GET", f"{root}/namespaces/{namespace}/{kind.lower()}s")["items"]
            found += [{"apiVersion": group, "kind": kind, **item} for item in items]
        return found

    def get(self, path: str) -> Mapping[str, Any]:
        """What is there."""
        return self._ask("GET", path)

    def make(self, namespace: str, plural: str, body: Mapping[str, Any], *, group: str = "v1") -> None:
        """A new object of any kind."""
        root = f"/apis/{group}" if "/" in group else f"/api/{group}"
        self._ask("POST", f"{root}/namespaces/{namespace}/{plural}", body)

    def remove(self, path: str) -> None:
        """Delete what is there."""
        self._ask("DELETE", path)

    def _ask(
        self, method: str, path: str, body: object = None, content_type: str = "application/json"
    ) -> Mapping[str, Any]:
        headers = {"Accept": "application/json", "Content-Type": content_type}
        prepared = self._api.param_serialize(
            method, path, header_params=headers, body=body, auth_settings=["BearerToken"]
        )
        response = self._api.call_api(*prepared, _request_timeout=30.0)
        answer: dict[str, Any] = orjson.loads(response.response.data)
        assert 200 <= response.status <= 299, answer
        return answer


def _path(ref: Ref) -> str:
    group = API_VERSIONS[ref.kind]
    root = f"/apis/{group}" if "/" in group else f"/api/{group}"
    return f"{root}/namespaces/{ref.namespace}/{ref.kind.lower()}s/{ref.name}"
