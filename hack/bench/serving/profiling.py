"""Why a goal was missed: where our server's processor time goes with that model. After the comparison, never in it."""

import json
import os
import signal
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hack.bench.serving import quick
from hack.bench.serving.generator import Load, LoadError, measure
from hack.bench.serving.goals import Goal
from hack.bench.serving.models import FittedModel
from hack.bench.serving.processes import ServerError, free_ports
from hack.bench.serving.progress import Progress
from hack.bench.serving.servers import OWN, PROGRAMS, Launch, Place, Server

USERS, SECONDS = 16, 3.0
FUNCTIONS = 15  # that are listed: those with the most time of their own
MODULE = "tidemill_runtime.server"


def of_missed(
    goals: Iterable[Goal], fitted: Mapping[str, FittedModel], folder: Path, progress: Progress
) -> list[dict[str, Any]]:
    """Return a profile for each model and server that missed a goal of throughput or latency."""
    wanted = dict.fromkeys(one.judged for one in goals if one.met is False and one.judged is not None)
    found = []
    port = free_ports(1)[0]
    for number, (model, key) in enumerate(wanted):
        server = next(one for one in OWN if one.key == key)
        progress.say(f"{model} missed a goal: where the time of {server.label} goes")
        try:
            with quick.floor(port):
                counted = sample(server, fitted[model], folder / f"profile-{number}", f"http://127.0.0.1:{port}")
        except (ServerError, LoadError, OSError, ValueError) as error:  # the comparison's figures are not lost for it
            progress.say(f"no profile of {server.label}, {model}: {error}")
        else:
            found.append({"model": model, "server": key, "users": USERS, **counted})
    return found


def sample(server: Server, model: FittedModel, folder: Path, sink: str) -> dict[str, Any]:
    """Load a server that samples itself; return the number of samples and its most expensive functions.

    Raises:
        ServerError: it did not start, or left no samples.
        LoadError: the generator failed.
    """

    def launch(fitted: FittedModel, place: Place) -> Launch:
        plain = server.launch(fitted, place)
        command = [sys.executable, str(PROGRAMS / "sampled.py"), str(result), MODULE]
        return Launch(command, plain.variables)

    result = folder / "samples.json"
    with quick.started(replace(server, launch=launch), model, folder, sink) as (address, process):
        os.kill(process.pids()[0], signal.SIGUSR2)
        measure(address, server.form(model, 1), Load(USERS, SECONDS))
    if not result.exists():
        raise ServerError("it ended without its samples")
    return shares(json.loads(result.read_text()))


def shares(counted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the functions with the most time of their own: name, own share, share with all that they call."""
    samples, functions = counted["samples"], counted["functions"]
    most = sorted(functions.items(), key=lambda item: -item[1][0])[:FUNCTIONS]
    listed = [[name, round(own / samples, 4), round(whole / samples, 4)] for name, (own, whole) in most if own]
    return {"samples": samples, "functions": listed}
