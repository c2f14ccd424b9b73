"""What a change of an app, or one of its releases, changes: in words, and never a value of its environment or secrets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from projections.settings import Change, compared, run_settings

if TYPE_CHECKING:
    from ledger.app import Life


def changes(before: Life | None, after: Life | None) -> list[Change]:
    """What differs between two moments of a life in what is set and in what its newest pods read, by setting.

    A setting that differs in both is told as it was set: pods may not have read the newest value yet, but it is the one
    that is taken back. There are none where the app is not deployed.
    """
    if before is None or after is None:
        return []
    in_pods = compared(
        run_settings(before.spec, before.roll.configuration), run_settings(after.spec, after.roll.configuration)
    )
    set_now = compared(run_settings(before.spec, before.configuration), run_settings(after.spec, after.configuration))
    found = {change.setting: change for change in (*in_pods, *set_now)}
    return [found[name] for name in sorted(found)]


def in_words(changed: Iterable[Change], same_as: Mapping[str, int] | None = None) -> str:
    """Changes as one sentence; empty if there are none.

    Args:
        changed: The changes.
        same_as: By secret key, the earlier release that had the very same value, where that is known.
    """
    return "; ".join(_words(change, same_as or {}) for change in changed)


def _words(change: Change, same_as: Mapping[str, int]) -> str:
    kind, _, key = change.setting.partition(".")
    if not key:
        nothing = "any" if kind == "machines" else "none"
        return f"{kind} {change.before or nothing} → {change.after or nothing}"
    again = f" (the value of release {same_as[key]})" if kind == "secrets" and key in same_as else ""
    return f"{'secret' if kind == 'secrets' else kind} {key} {_how(kind, change)}{again}"


def _how(kind: str, change: Change) -> str:
    if change.after is None:
        return "removed"
    if change.before is None:
        return "added"
    return f"{change.before} → {change.after.removeprefix('version ')}" if kind == "secrets" else "changed"
