"""Logins that run a plugin or speak a protocol, a pod's service account, and proxies, all by the `kubernetes` client.

Invariants:

* Nothing that the client, the files or a credential plugin say reaches an error: it may hold credentials.
* Credentials that expire are renewed before they do, those that a server refuses with the next request; then waiting
  for a plugin is bounded in time.
"""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import urllib3
from kubernetes import client
from kubernetes.client.rest import RESTClientObject
from kubernetes.config import ConfigException
from kubernetes.config.dateutil import parse_rfc3339
from kubernetes.config.incluster_config import InClusterConfigLoader
from kubernetes.config.kube_config import FileOrData, KubeConfigLoader, KubeConfigMerger

from effects.kubernetes_access import CredentialsError, refuse_in_the_clear
from effects.kubernetes_plugins import run_plugin

_EARLY = timedelta(minutes=5)
"""How long before they expire credentials are renewed, at most: those that live for minutes only after nine tenths of that."""

_PLUGIN_SECONDS = 60.0
"""How long a request waits for a plugin that renews credentials."""

Load = Callable[[client.Configuration], None]

Forget = Callable[[float], None]
"""See `effects.kubernetes_access.Access.refused`."""


def login(file: Path, context: str, impersonation: Mapping[str, str]) -> LoginAccess:
    """The access that a context of a kubeconfig describes.

    Raises:
        CredentialsError: The plugin failed, or the client cannot use the file.
    """
    try:
        merger: Any = KubeConfigMerger(str(file))  # type: ignore[no-untyped-call]
        renewal = _Renewal(_Loader(merger, context))
        return LoginAccess(renewal, renewal.refused, impersonation)
    except CredentialsError as error:
        problem = str(error)
    except Exception as error:  # noqa: BLE001 - from YAML to base64 to plugins, the client lets anything through
        # The type only: the texts quote the file, tokens included.
        problem = f"the client could not use it ({type(error).__name__})"
    raise CredentialsError(problem)


def service_account(mount: Path) -> LoginAccess:
    """Access as the service account of this pod. Its token is read again every minute.

    Raises:
        CredentialsError: This is not a pod, or it has no service account's token.
    """
    loader: Any = InClusterConfigLoader(str(mount / "token"), str(mount / "ca.crt"))  # type: ignore[no-untyped-call]

    def forget(_: float) -> None:
        loader.token_expires_at = datetime.min  # noqa: DTZ901 - the client compares it with a time without a zone

    try:
        return LoginAccess(loader.load_and_set, forget)
    except (ConfigException, OSError) as error:
        problem = str(error) if isinstance(error, ConfigException) else type(error).__name__
    raise CredentialsError(problem)


class LoginAccess:
    """Access by what the client makes of a login."""

    def __init__(self, load: Load, forget: Forget, impersonation: Mapping[str, str] = MappingProxyType({})) -> None:
        """Log in.

        Raises:
            CredentialsError: A plugin failed, or they would be sent in the clear. The client raises other errors, too.
        """
        configuration = client.Configuration()
        load(configuration)
        self._configuration: Any = configuration
        if self._token() is not None:
            refuse_in_the_clear(self.server)
        self._as = impersonation
        self._forget = forget
        self._lock = threading.Lock()
        self._pooled = self._certificate(), self._new_pool()
        if not self._configuration.verify_ssl:
            warnings.filterwarnings("ignore", category=urllib3.exceptions.InsecureRequestWarning)

    @property
    def server(self) -> str:
        """Its address."""
        address: str = self._configuration.host
        return address.rstrip("/")

    def headers(self) -> Mapping[str, str]:
        """The headers that say who we are, renewed if they were about to expire.

        Raises:
            CredentialsError: It could not be renewed.
        """
        self._renew()
        headers = urllib3.HTTPHeaderDict(self._as)
        if (token := self._token()) is not None:
            headers.add("Authorization", token)
        return headers

    def _token(self) -> str | None:
        # Not by `auth_settings`, which would renew it a second time.
        token: str | None = self._configuration.api_key.get("BearerToken")
        return token

    def pool(self) -> urllib3.PoolManager:
        """Its connections: open ones go on with the certificate that they began with, another one needs others."""
        with self._lock:
            certificate, pool = self._pooled
            if self._certificate() != certificate:
                pool = self._new_pool()
                self._pooled = self._certificate(), pool
            return pool

    def refused(self, since: float, /) -> None:
        """See `effects.kubernetes_access.Access.refused`: a plugin is run again, even if it names no expiry."""
        self._forget(since)

    def close(self) -> None:
        """Close the connections; may be repeated."""
        self._pooled[1].clear()

    def _certificate(self) -> tuple[str | None, str | None]:
        return self._configuration.cert_file, self._configuration.key_file

    def _new_pool(self) -> urllib3.PoolManager:
        return RESTClientObject(self._configuration).pool_manager

    def _renew(self) -> None:
        if self._configuration.refresh_api_key_hook is None:
            return
        try:
            self._configuration.refresh_api_key_hook(self._configuration)
        except (ConfigException, OSError) as error:
            problem = f"its credentials could not be renewed ({type(error).__name__})"
        else:
            return
        raise CredentialsError(problem)


class _Loader(KubeConfigLoader):
    """The client's loader, except that nobody goes on anonymously where a login failed or is not known.

    Its own way with plugins also logs what a failing one said.
    """

    def __init__(self, merger: Any, context: str) -> None:
        # Persisting keeps a refreshed OIDC token: without it the login that the user shares with us would end.
        super().__init__(  # type: ignore[no-untyped-call]
            merger.config, active_context=context, config_base_path=None, config_persister=merger.save_changes
        )
        self._taken = datetime.now(UTC)

    def expires(self) -> bool:
        """Whether what was loaded is about to expire; what names no expiry never is."""
        expiry: datetime | None = vars(self).get("expiry")
        if expiry is None:
            return False
        return expiry - min(_EARLY, (expiry - self._taken) / 10) <= datetime.now(UTC)

    def _load_authentication(self) -> None:
        super()._load_authentication()  # type: ignore[no-untyped-call]
        user: Any = self._user
        if user is None or "auth-provider" not in user or vars(self).get("token") or "client-certificate" in user:
            return
        if "client-certificate-data" not in user:
            name = user["auth-provider"].safe_get("name")
            raise CredentialsError(
                f"its auth-provider {name!r} is not known, or has no valid token; log in by a plugin"
            )

    def _load_from_exec_plugin(self) -> bool:
        user: Any = self._user
        if "exec" not in user:
            return False
        command = user["exec"].safe_get("command")
        try:
            self._take(run_plugin(user["exec"], self._base_path(), self._cluster))
        except Exception as error:  # noqa: BLE001 - its texts are what the plugin said
            problem = type(error).__name__
        else:
            return True
        raise CredentialsError(f"its credential plugin {command!r} failed ({problem}); run it by hand to see why")

    def _take(self, status: Any) -> None:
        """Keep what a plugin answered (client.authentication.k8s.io, ExecCredentialStatus); null says nothing.

        Raises:
            Exception: Of any kind; it gave neither a token nor a certificate with its key.
        """
        if not status.get("token") and not (status.get("clientCertificateData") and status.get("clientKeyData")):
            msg = "it names nobody"
            raise ConfigException(msg)
        if status.get("token"):
            self.token = f"Bearer {status['token']}"
        if status.get("clientCertificateData"):
            self.cert_file = self._file_of(status, "clientCertificateData")
            self.key_file = self._file_of(status, "clientKeyData")
        vars(self).pop("expiry", None)
        self._taken = datetime.now(UTC)
        if expiry := status.get("expirationTimestamp"):
            self.expiry = parse_rfc3339(expiry)  # type: ignore[no-untyped-call]

    def _file_of(self, status: Any, key: str) -> str:
        data: Any = FileOrData(  # type: ignore[no-untyped-call]
            {key: status[key]}, None, data_key_name=key, file_base_path=self._base_path(), base64_file_content=False
        )
        name: str = data.as_file()
        return name

    def _base_path(self) -> Any:
        cluster: Any = self._cluster
        return self._get_base_path(cluster.path)  # type: ignore[no-untyped-call]


class _Renewal:
    """Loads credentials, and again when they are about to expire; one plugin runs at a time."""

    def __init__(self, loader: _Loader) -> None:
        self._loader = loader
        self._lock = threading.Lock()
        self._loading: Future[None] | None = None
        self._loaded_at = 0.0
        self._refused = False

    def __call__(self, configuration: client.Configuration) -> None:
        """Load, for the first time without a bound: a plugin may have to ask the user.

        Raises:
            CredentialsError: The plugin failed, or does not end.
        """
        first = configuration.refresh_api_key_hook is None
        if first:
            self._load(configuration)
        elif self._is_due():
            self._load_in_time(configuration)

    def refused(self, since: float) -> None:
        """Load again before the next request, unless that was done since then."""
        if self._loaded_at <= since:
            self._refused = True

    def _is_due(self) -> bool:
        return self._refused or self._loader.expires()

    def _load(self, configuration: client.Configuration) -> None:
        self._loader.load_and_set(configuration)  # type: ignore[no-untyped-call]
        self._loaded_at, self._refused = time.monotonic(), False
        hooked: Any = configuration
        hooked.refresh_api_key_hook = self

    def _load_in_time(self, configuration: client.Configuration) -> None:
        with self._lock:
            if self._loading is None or self._loading.done():
                if not self._is_due():
                    return
                self._loading = Future()
                threading.Thread(
                    target=self._run, args=(configuration, self._loading), name="renews credentials", daemon=True
                ).start()
            loading = self._loading
        try:
            loading.result(_PLUGIN_SECONDS)
        except TimeoutError:
            pass
        else:
            return
        raise CredentialsError(f"its credential plugin did not end within {_PLUGIN_SECONDS:g} s")

    def _run(self, configuration: client.Configuration, loading: Future[None]) -> None:
        try:
            self._load(configuration)
        except Exception as error:  # noqa: BLE001 - raised in the threads that wait
            loading.set_exception(error)
        else:
            loading.set_result(None)
