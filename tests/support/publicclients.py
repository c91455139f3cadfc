"""Clients that others wrote, each in an environment of its own, against a server that answers known rows.

The programs are in tests/clients; the environments are made by `make test-programs` from locks with hashes and kept in
the user's cache.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hack.bench.serving.environments import NEWEST_PYTHON, complete
from tests.support.programs import needed

PROGRAMS = Path(__file__).parents[1] / "clients"
ROWS = [[0.5, -1.0, 0.25, 2.0], [-0.3, 0.7, 1.4, -2.2], [1.1, 0.1, -0.6, 0.4]]
EXACT_ROWS = [[0.5, -1.0, 0.25, 2.0], [-0.75, 1.5, 1.25, 0.0]]  # every float type holds them


def needs(name: str) -> pytest.MarkDecorator:
    """Skip a test where Python is too new for the client: there is no environment to make then."""
    return pytest.mark.skipif(sys.version_info[:2] > NEWEST_PYTHON[name], reason=f"no {name} for this Python")


def run(name: str, program: str, asked: dict[str, Any]) -> list[str]:
    """Run a program with a client's Python; returns the lines that it printed.

    Raises:
        AssertionError: a check of the program failed; with what it printed.
    """
    command = [str(_python(name)), "-W", "ignore", str(PROGRAMS / program)]
    done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, f"after {done.stdout.splitlines()}: {done.stderr[-3000:]}"
    return done.stdout.splitlines()


def _python(name: str) -> Path:
    return needed(f"the environment of {name}", complete(name)).with_name("bin") / "python"


def check_mlserver_infer(folder: Path, asked: dict[str, Any], *, binary: bool) -> None:
    """Hold what `mlserver infer` gets for single rows against the labels that are known."""
    requests = [
        {"id": f"r-{i}", "inputs": [{"name": "x", "shape": [1, len(row)], "datatype": "FP64", "data": row}]}
        for i, row in enumerate(asked["rows"])
    ]
    answers = _mlserver_infer(folder, asked["http"], asked["model"], requests, binary=binary)
    labels = [next(o["data"] for o in answer["outputs"] if o["name"] == "label") for answer in answers]
    assert labels == [[label] for label in asked["labels"]], answers


def _mlserver_infer(folder: Path, url: str, model: str, requests: list[dict[str, Any]], *, binary: bool) -> list[Any]:
    """Run `mlserver infer` over requests and return its answers in the order of the requests.

    Raises:
        AssertionError: the command failed; with what it printed.
    """
    source, target = folder / "requests.jsonl", folder / "answers.jsonl"
    source.write_text("".join(json.dumps(request) + "\n" for request in requests))
    program = _python("mlserver").with_name("mlserver")
    command = [
        str(program),
        "infer",
        "-u",
        url,
        "-m",
        model,
        "-i",
        str(source),
        "-o",
        str(target),
        "-w",
        "2",
        "-s",
        "2",
    ]
    if binary:
        command.append("-b")
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, cwd=folder)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    answers = [json.loads(line) for line in target.read_text().splitlines()]
    return sorted(answers, key=lambda answer: answer["parameters"]["batch_index"] if "parameters" in answer else 0)
