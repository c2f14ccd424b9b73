"""What value objects cost a cold command, beside frozen dataclasses, in turns: ``python tests/docs/measure_values.py``.

The command may be given: ``python tests/docs/measure_values.py deploy --image nginx --detach``. The figures of docs/adr/0014-value-objects.md come from it. Processor time, so that a busy machine matters less.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

TIMES = 60
COMMAND = tuple(sys.argv[1:]) or ("deploy", "get")
OURS = "from cli.main import main; sys.exit(main())"
PLAIN = f"""
from dataclasses import dataclass
import ledger.value
ledger.value.value = lambda cls: dataclass(frozen=True, slots=True, kw_only=True)(cls)
ledger.value.short_value = lambda cls: dataclass(frozen=True, slots=True)(cls)
{OURS}"""
COUNT = """
import ledger.value
made = []
def counting(make):
    return lambda cls: made.append(cls) or make(cls)
ledger.value.value, ledger.value.short_value = counting(ledger.value.value), counting(ledger.value.short_value)
from cli.main import main
main()
print(len(made), file=sys.stderr)"""


def main() -> None:
    """Print how many classes there are, and the median of each way, in milliseconds."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "satusky.toml").write_text('[app]\nname = "measured"\n')
        subprocess.run(
            [sys.executable, "-m", "cli.main", "deploy", "--image", "nginx"],
            cwd=directory,
            env=_environ(directory),
            capture_output=True,
            check=True,
        )
        classes = _run(COUNT, directory)[1].strip()
        took = [(_run(OURS, directory)[0], _run(PLAIN, directory)[0]) for _ in range(TIMES)]
    ours, plain = (statistics.median(column) * 1000 for column in zip(*took, strict=True))
    print(f"{classes} classes, {TIMES} turns: value objects {ours:.1f} ms, frozen dataclasses {plain:.1f} ms")


def _run(code: str, directory: str) -> tuple[float, str]:
    """Processor seconds of `1ctl deploy get` in a fresh interpreter, and its stderr."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.argv = ['1ctl', *{COMMAND}]\n{code}"],
        cwd=directory,
        env=_environ(directory),
        capture_output=True,
        text=True,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stderr


def _environ(directory: str) -> dict[str, str]:
    root = str(Path(__file__).parents[2])
    return {"PATH": os.environ["PATH"], "HOME": directory, "PYTHONPATH": root, "ONECTL_HOME": f"{directory}/home"}


if __name__ == "__main__":
    main()
