"""``callsheet emulate``: faults on the command line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import httpx
import pytest

from callsheet._cli import main


CODE = "import sys; from callsheet._cli import main; sys.exit(main())"


def test_shares_and_a_file_of_faults_go_to_the_emulator(tmp_path):
    """Each share becomes a fault of creates; the faults of a file come after them."""
    path = tmp_path / "faults.json"
    path.write_text('[{"verbs": "list", "answer": 503, "since": 5}]', "utf-8")
    shares = ["--lost-creates", "0.1", "--lost-answers", "0.2", "--late-creates", "0.05"]
    options = ["emulate", "--port", "0", *shares, "--faults", str(path)]
    command = [sys.executable, "-c", CODE, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        origin = process.stdout.readline().split()[2].rstrip(",")
        found = httpx.get(origin + "/_emulator/faults", trust_env=False).json()
        process.send_signal(signal.SIGINT)
    assert [(row["request"], row["share"]) for row in found] == [
        ("lost", 0.1),
        ("taken", 0.2),
        ("late", 0.05),
        ("lost", 1.0),
    ]
    assert (found[3]["verbs"], found[3]["answer"], found[3]["since"]) == (["list"], 503, 5)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("no", "Expecting value"),
        ("{}", "a list is expected"),
        (json.dumps([{"share": 2}]), "'share' must be <= 1"),
        (json.dumps([{"shares": 1}]), "a fault has no field 'shares'; known are verbs, share, "),
        (json.dumps([3]), "mapping"),
        (None, "No such file"),
    ],
)
def test_a_bad_file_of_faults_is_named(tmp_path, capsys, content, reason):
    """Nothing is served, and one line names the file and the reason."""
    path = tmp_path / "faults.json"
    if content is not None:
        path.write_text(content, "utf-8")
    assert main(["emulate", "--port", "0", "--faults", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"{path}: ")
    assert reason in error
    assert error.count(str(path)) == 1
