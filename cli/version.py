"""The program's version, without asking the package metadata, which costs every command 20 ms."""

VERSION = "0.1.0"
PROGRAM = f"1ctl {VERSION}"
