"""Plays the microservices guide on the sandbox: ``python -m tests.demo``.

Prints each command and what it says, on one stream as on a terminal. Ends with 0 only if every command did what the
guide says. Works in a directory of its own, which it removes.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DEPLOY = "1ctl deploy --image nginx:alpine --machine compute-main-01"
SERVICES = {"user-service": 8081, "order-service": 8082}


class UnexpectedError(Exception):
    """A command did not do what the guide says."""


@dataclass(slots=True)
class Demo:
    """A shell session in a directory of its own.

    Attributes:
        base: The directory.
        environ: Environment of the commands; captured values are added to it.
        cwd: Where the session is, relative to `base`.
    """

    base: Path
    environ: dict[str, str]
    cwd: str = ""

    def title(self, text: str) -> None:
        """A step's header."""
        bold, plain = ("\033[1m", "\033[0m") if _colours() else ("", "")
        say(f"\n{bold}── {text} {'─' * max(3, 96 - len(text))}{plain}")

    def go(self, directory: str) -> None:
        """Changes the directory, if it is another one."""
        if directory != self.cwd:
            say(f"$ cd {os.path.relpath(directory, self.cwd or os.curdir)}")
            self.cwd = directory

    def run(self, command: str, *, code: int = 0) -> str:
        """Runs a command; returns what it printed.

        Raises:
            UnexpectedError: It ended with another code.
        """
        say(f"$ {command}")
        return self._run(command, code=code, shown=True)

    def capture(self, name: str, command: str) -> str:
        """Keeps what a command prints in a variable, and shows it."""
        say(f"$ {name}=$({command})")
        self.environ[name] = self._run(command, code=0, shown=False).strip()
        self.run(f'echo "${name}"')
        return self.environ[name]

    def _run(self, command: str, *, code: int, shown: bool) -> str:
        printed = ""
        with subprocess.Popen(
            ["/bin/sh", "-c", command],
            cwd=self.base / self.cwd,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                printed += line.decode()
                if shown:
                    say(line.decode().rstrip("\n"))
        if process.returncode != code:
            msg = f"this ended with {process.returncode} instead of {code}: {command}\n{printed}"
            raise UnexpectedError(msg)
        return printed


def play(demo: Demo) -> None:
    """The ten steps, and what is left when all is gone."""
    domain_of = _field("domain")

    demo.title("1  Deploy user-service, and wait until it runs")
    demo.go("services/user-service")
    demo.run("cat satusky.toml")
    first = demo.run(f"{DEPLOY} --wait")
    expect(first, r"✅ Deployment is healthy — pods Running")

    demo.title("2  Read its URL")
    url = demo.capture("USER_SERVICE_URL", f"1ctl -o json deploy get | {domain_of}")
    expect(url, r"https://[a-z]+-[a-z0-9]{7}\.satusky\.com")

    demo.title("3  Configuration before the first deploy is refused; then deploy order-service")
    demo.go("services/order-service")
    demo.run("1ctl env create --env A=b", code=3)
    demo.run(f"{DEPLOY} --wait")

    demo.title("4  Tell order-service where user-service is")
    demo.run('1ctl env create --env USER_SERVICE_URL="$USER_SERVICE_URL"')

    demo.title("5  Each app has secrets of its own")
    demo.go("services/user-service")
    demo.run("1ctl secret create --kv JWT_SECRET=supersecret-jwt-value")
    demo.go("services/order-service")
    demo.run("1ctl secret create --kv DATABASE_URL=postgres://user:pw@host:5432/orders")

    demo.title("6  List")
    expect(demo.run("1ctl deploy list"), r"(?s)(.*\bcompleted\b){2}.*")

    demo.title("7  Releases")
    demo.go("services/user-service")
    demo.run("1ctl deploy releases")

    demo.title("8  Redeploy: the same id, the same domain")
    again = demo.run(DEPLOY)
    if "Generated new domain" in again or url not in again:
        msg = "a redeploy must keep the domain"
        raise UnexpectedError(msg)
    expect(demo.run("1ctl deploy releases"), r"(?s).*\bactive\b.*\bsuperseded\b.*")

    demo.title("9  Destroy and recreate: a new domain, to be passed on")
    demo.run("1ctl deploy destroy -y")
    demo.run(f"{DEPLOY} --wait")
    demo.go("services/order-service")
    config = demo.base / "services/user-service/satusky.toml"
    new_url = demo.capture("NEW_URL", f"1ctl -o json deploy get --config {config} | {domain_of}")
    if new_url == url:
        msg = "a recreated app must have a new domain"
        raise UnexpectedError(msg)
    demo.run('1ctl env create --env USER_SERVICE_URL="$NEW_URL"')
    demo.run("1ctl deploy restart")

    demo.title("10  Clean up")
    demo.run("1ctl deploy destroy -y")
    demo.go("services/user-service")
    demo.run("1ctl deploy destroy -y")

    demo.title("What the ledger remembers when all of it is gone")
    expect(demo.run("1ctl deploy list"), r"(?s).*No deployments found.*")
    demo.run("1ctl deploy releases")
    demo.run("1ctl audit verify")


def expect(printed: str, pattern: str) -> None:
    """Goes on only if the pattern is in what was printed."""
    if re.search(pattern, printed) is None:
        msg = f"this is not like {pattern!r}:\n{printed}"
        raise UnexpectedError(msg)


def say(line: str) -> None:
    """A line on stdout, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Plays; the exit code."""
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    with tempfile.TemporaryDirectory(prefix="1ctl-demo-") as directory:
        base = Path(directory)
        for name, port in SERVICES.items():
            service = base / "services" / name
            service.mkdir(parents=True)
            service.joinpath("satusky.toml").write_text(
                f'[app]\nname   = "{name}"\nport   = {port}\ncpu    = "0.25"\nmemory = "128Mi"\n'
            )
        try:
            play(Demo(base, _environ(base)))
        except UnexpectedError as error:
            say(f"\n❌ {error}")
            return 1
    say("\n✅ The guide was played from the first step to the last: every command did what it says.")
    return 0


def _environ(base: Path) -> dict[str, str]:
    """This one's without what would lead `1ctl` elsewhere than to an empty home; `1ctl` is the one of this tree."""
    programs = base / "bin"
    programs.mkdir()
    program = programs / "1ctl"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m cli.start "$@"\n')
    program.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ONECTL_")}
    seconds = os.environ.get("ONECTL_SANDBOX_SECONDS", "1")
    return {
        **kept,
        "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONPATH": str(ROOT),
        "ONECTL_HOME": str(base / "home"),
        "ONECTL_SANDBOX_SECONDS": seconds,
    }


def _field(name: str) -> str:
    """A command that prints one field of the JSON document on its stdin."""
    if shutil.which("jq"):
        return f"jq -r .{name}"
    return f'"{sys.executable}" -c "import json, sys; print(json.load(sys.stdin)[\'{name}\'])"'


def _colours() -> bool:
    return sys.stdout.isatty() and os.environ.get("NO_COLOR") is None


if __name__ == "__main__":
    sys.exit(main())
