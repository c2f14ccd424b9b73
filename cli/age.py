"""When something was, and how long ago, as a person says it."""

from ledger.clock import from_micros

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def age(then_us: int, now_us: int) -> str:
    """A phrase such as "2 minutes ago" or "yesterday"; arguments in microseconds since 1970-01-01 UTC."""
    seconds = max(0, now_us - then_us) // 1_000_000
    if seconds < _MINUTE:
        return "just now"
    if seconds < _HOUR:
        return _ago(seconds // _MINUTE, "minute")
    if seconds < _DAY:
        return _ago(seconds // _HOUR, "hour")
    if seconds < 2 * _DAY:
        return "yesterday"
    days = seconds // _DAY
    for length, name in ((365, "year"), (30, "month"), (7, "week")):
        if days >= length:
            return _ago(days // length, name)
    return _ago(days, "day")


def local_time(at_us: int) -> str:
    """Local time with its offset, to the second; the argument in microseconds since 1970-01-01 UTC."""
    return from_micros(at_us).astimezone().isoformat(sep=" ", timespec="seconds")


def _ago(count: int, unit: str) -> str:
    return f"{count} {unit}{'' if count == 1 else 's'} ago"
