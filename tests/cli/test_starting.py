"""How the command line starts: its imports, and what ``emulate`` prints first."""

from __future__ import annotations

import builtins
import signal
import subprocess
import sys

import pytest

from callsheet._cli import main
from cli.running import CODE


def test_ctrl_c_while_the_commands_are_imported_is_one_line(capfd, monkeypatch):
    """The exit code is that of an interruption, and there is no traceback."""
    real = builtins.__import__

    def interrupted(name: str, *more):
        if name == "callsheet._cli.app":
            raise KeyboardInterrupt
        return real(name, *more)

    monkeypatch.setattr(builtins, "__import__", interrupted)
    assert main(["check", "x"]) == 130
    assert capfd.readouterr().err == "interrupted\n"


def loaded(arguments: list[str], *modules: str) -> set[str]:
    """Which of *modules* a process has that has run the command line."""
    code = f"""
import sys
from callsheet._cli import main
main({arguments})
print(*(name for name in {modules} if sys.modules.get(name)))
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(out.stdout.splitlines()[-1].split())


def test_the_version_and_the_help_load_no_client():
    """What a command needs is imported when it is carried out."""
    late = ("httpx", "callsheet._client", "callsheet._cli.run", "rich.live")
    assert loaded(["--version"], *late) == set()
    assert loaded(["run", "--help"], *late) <= {"rich.live"}


def test_a_run_loads_neither_the_command_line_of_httpx_nor_the_server(tmp_path):
    """The emulator has a process of its own, and nothing here is drawn or coloured by pygments."""
    source = tmp_path / "prompts.txt"
    source.write_text("boat")
    late = ("httpx", "httpx._main", "pygments.lexers", "starlette", "uvicorn", "av", "PIL")
    where = ["--out", str(tmp_path / "out"), "--provider", "emulator", "--speed", "500"]
    assert loaded(["run", str(source), *where], *late) == {"httpx"}


@pytest.mark.parametrize(
    ("options", "end"),
    [
        ((), "/api/v3"),
        (("--speed", "60"), "/api/v3 --speed 60"),
        (("--speed", "0.5"), "/api/v3 --speed 0.5"),
    ],
)
def test_the_command_for_the_other_terminal_holds_the_speed(options, end):
    """It can be pasted unchanged; a client must be told any speed other than 1."""
    command = [sys.executable, "-c", CODE, "emulate", "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        origin = process.stdout.readline().split()[2].rstrip(",")
        told = process.stdout.readline().rstrip("\n")
        process.send_signal(signal.SIGINT)
    assert told.endswith(f" --provider emulator --base-url {origin}{end}")


def test_shares_of_creates_that_are_more_than_all_are_refused(capfd, monkeypatch):
    """They are shares of the same creates, so their sum is at most 1."""
    monkeypatch.setattr("callsheet.emulator.serve", lambda *_, **__: None)
    shares = ["--lost-creates", "0.6", "--lost-answers", "0.6"]
    assert main(["emulate", "--port", "0", *shares]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "--lost-creates, --lost-answers and --late-creates" in line
    assert line.endswith("at most 1 together, not 1.2")
