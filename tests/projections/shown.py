"""A row of the list as the oracle puts it."""

from __future__ import annotations

from projections.app_list import AppListRow


def shown(row: AppListRow) -> dict[str, object]:
    """What is asked for and shown, not how the status is worked out."""
    inner = ("changed", "applied_through", "refused_through", "env_keys", "secret_keys", "valid_from")
    columns = {key: value for key, value in row._asdict().items() if key not in inner}
    configured = {"env": set(row.env_names), "secrets": set(row.secret_names)}
    return {**columns, **configured, "hostnames": row.deployment().hostnames, "status": row.status}
