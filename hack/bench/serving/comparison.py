"""The whole comparison: starts every server of a model, loads them in turn, round after round, and gathers a document.

Order: round → load → server, the servers rotated from round to round, so that whatever the machine does meanwhile
falls on all of them alike. A server that cannot be had on this machine is left out with its reason; one that fails
while it is measured is recorded with its error. Nothing is judged here.
"""

import contextlib
import json
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hack.bench.serving import machine, models, servers
from hack.bench.serving.environments import PeerError, compile_own
from hack.bench.serving.generator import Load, LoadError, measure
from hack.bench.serving.processes import (
    ServerError,
    ServerProcess,
    cpu_seconds,
    free_ports,
    memory_mib,
    wait_until_right,
)
from hack.bench.serving.progress import Progress
from hack.bench.serving.servers import Place, Server

USERS = (1, 16, 300)
ROWS = (1, models.BATCH_ROWS)
CAPACITY_USERS = 16  # half of the throughput with these is the rate of the open loop
OPEN_CONNECTIONS = 64
OPEN_SAMPLES, OPEN_LONGEST = 300, 4.0  # so many arrivals at least, but no longer than this
IDLE_SECONDS = 2.0
PORTS_EACH = 4
DROPPED = "tidemill_prediction_records_dropped_total{"


@dataclass(frozen=True)
class Settings:
    """How long and what."""

    rounds: int = 3
    seconds: float = 1.0
    cold_starts: int = 3
    models: tuple[str, ...] = tuple(models.MODELS)
    users: tuple[int, ...] = USERS
    rows: tuple[int, ...] = ROWS


@dataclass
class Running:
    """A started server."""

    server: Server
    process: ServerProcess
    port: int
    pids: list[int]
    admin_port: int
    dropped: float = 0.0  # prediction records so far

    def newly_dropped(self) -> float:
        """Return how many prediction records were dropped since this was last asked; of our servers only."""
        before = self.dropped
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}/metrics", timeout=10) as page:
            lines = page.read().decode().splitlines()
        self.dropped = sum(float(line.split()[-1]) for line in lines if line.startswith(DROPPED))
        return self.dropped - before

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"


@dataclass
class Comparison:
    """Gathers the document that report and picture are made of."""

    settings: Settings
    chosen: Sequence[Server]
    folder: Path
    progress: Progress
    cells: list[dict[str, Any]] = field(default_factory=list)
    memory: list[dict[str, Any]] = field(default_factory=list)
    cold: list[dict[str, Any]] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    idle: dict[str, float] = field(default_factory=dict)
    fitted: dict[str, models.FittedModel] = field(default_factory=dict)

    def run(self) -> dict[str, Any]:
        """Measure everything; return the document."""
        began = time.time()
        described = machine.describe()
        self.progress.say("compiling our environment to bytecode, as images are")
        compile_own()
        for name in self.settings.models:
            self.progress.say(f"fitting {models.MODELS[name]}")
            self.fitted[name] = models.fit(name, self.folder / name)
        with self._sink() as sink:
            for name in self.settings.models:
                self._model(name, sink)
            self._cold_starts(sink)
        return {
            "schema": 1,
            "machine": described,
            "settings": asdict(self.settings),
            "began": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(began)),
            "minutes": round((time.time() - began) / 60, 1),
            "servers": [describe(server) for server in self.chosen],
            "cells": self.cells,
            "memory": self.memory,
            "cold": self.cold,
            "idle": self.idle,
            "missing": self.missing,
        }

    @contextlib.contextmanager
    def _sink(self) -> Iterator[str]:
        port = free_ports(1)[0]
        launch = servers.sink(port)
        process = ServerProcess(launch.command, launch.variables, self.folder)
        try:
            wait_until_right(process, port, servers.SINK_FORM)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.stop()

    def _model(self, name: str, sink: str) -> None:
        with contextlib.ExitStack() as stack:
            running = self._start(name, sink, stack)
            self._measure_idle(name, running)
            for number in range(self.settings.rounds):
                self._round(name, running, number)
            capacities = {
                (one.server.key, rows): self._capacity(name, one.server.key, rows)
                for one in running
                for rows in self.settings.rows
            }
            ours = [one for one in running if one.server.kind != "peer"]
            peers_load = self._peers_load(running, capacities)
            for number in range(self.settings.rounds):
                self._open_round(name, running, number, capacities)
                self._open_round(name, ours, number, peers_load, "peers")
            for one in running:
                self.memory.append({"model": name, "server": one.server.key, "mib": memory_mib(one.process.pids())})

    def _start(self, name: str, sink: str, stack: contextlib.ExitStack) -> list[Running]:
        model, running = self.fitted[name], []
        processes: dict[str, tuple[ServerProcess, int, int]] = {}
        for server in self.chosen:
            if name not in server.models or server.key in self.missing:
                continue
            self.progress.say(f"{name}: starting {server.label}")
            try:
                if server.process_key not in processes:
                    processes[server.process_key] = self._launch(server, model, sink, stack)
                process, port, admin_port = processes[server.process_key]
                self._first_answer(server, model, process, port)
            except (ServerError, PeerError) as error:
                self._leave_out(server, name, str(error))
            else:
                running.append(Running(server, process, port, process.pids(), admin_port))
        return running

    def _launch(
        self, server: Server, model: models.FittedModel, sink: str, stack: contextlib.ExitStack
    ) -> tuple[ServerProcess, int, int]:
        """Return the process, the port it is loaded on, and the one that has our servers' metrics."""
        port, *others = free_ports(PORTS_EACH)
        folder = Path(tempfile.mkdtemp(dir=self.folder, prefix="server-"))
        launch = server.launch(model, Place(port, tuple(others), folder, sink))
        process = ServerProcess(launch.command, launch.variables, folder)
        stack.callback(process.stop)
        return process, port, others[0]

    def _first_answer(self, server: Server, model: models.FittedModel, process: ServerProcess, port: int) -> float:
        form = server.form(model, 1)
        return wait_until_right(process, port, form)

    def _leave_out(self, server: Server, model: str, reason: str) -> None:
        self.progress.say(f"left out: {server.label} ({model}): {reason}")
        self.missing[server.key] = f"{model}: {reason}"

    def _measure_idle(self, name: str, running: Sequence[Running]) -> None:
        """All servers are up while one is loaded; what the others use meanwhile is part of the record."""
        pids = sorted({pid for one in running for pid in one.pids})
        before = cpu_seconds(pids)
        time.sleep(IDLE_SECONDS)
        self.idle[name] = (cpu_seconds(pids) - before) / IDLE_SECONDS

    def _round(self, name: str, running: Sequence[Running], number: int) -> None:
        for rows in self.settings.rows:
            for users in self.settings.users:
                for one in rotated(running, number):
                    self._cell(name, one, rows, Load(users, self.settings.seconds), number)

    def _peers_load(
        self, running: Sequence[Running], capacities: dict[tuple[str, int], float]
    ) -> dict[tuple[str, int], float]:
        """Return for each of our servers and the floors what the best peer, as it comes, manages."""
        peers = [one.server.key for one in running if one.server.kind == "peer" and not one.server.tuned]
        best = {rows: max((capacities[key, rows] for key in peers), default=0.0) for rows in self.settings.rows}
        return {(one.server.key, rows): best[rows] for one in running for rows in self.settings.rows}

    def _open_round(
        self,
        name: str,
        running: Sequence[Running],
        number: int,
        capacities: dict[tuple[str, int], float],
        loop: str = "open",
    ) -> None:
        for rows in self.settings.rows:
            for one in rotated(running, number):
                rate = capacities[one.server.key, rows] / 2
                if rate > 0:
                    seconds = min(max(self.settings.seconds, OPEN_SAMPLES / rate), OPEN_LONGEST)
                    self._cell(name, one, rows, Load(OPEN_CONNECTIONS, seconds, rate=rate), number, loop)

    def _cell(self, name: str, one: Running, rows: int, load: Load, number: int, loop: str = "closed") -> None:
        form = one.server.form(self.fitted[name], rows)
        how = f"{load.rate:,.0f}/s arriving" if load.rate else f"{load.users} users"
        self.progress.step(f"{name}, round {number + 1}, {rows} row{'s' * (rows > 1)}, {how}: {one.server.label}")
        figures: dict[str, Any] = {}
        error = ""
        try:
            one.process.check()
            found = measure(one.address, form, load, one.pids)
            error = found.first_error
            figures = found.figures()
            if one.server.kind == "own":
                figures["dropped"] = one.newly_dropped()
        except (LoadError, ServerError, OSError) as failure:
            error = str(failure)
        if error:
            self.progress.say(f"{one.server.label}, {name}, {rows} rows, {how}: {error[:300]}")
        cell = {"model": name, "server": one.server.key, "rows": rows, "loop": loop}
        key = {**cell, "users": load.users}
        self._entry(key)["rounds"].append(figures or {"error": error})

    def _entry(self, key: dict[str, Any]) -> dict[str, Any]:
        for cell in self.cells:
            if all(cell[name] == value for name, value in key.items()):
                return cell
        self.cells.append({**key, "rounds": []})
        return self.cells[-1]

    def _capacity(self, model: str, server: str, rows: int) -> float:
        wanted = {"model": model, "server": server, "rows": rows, "loop": "closed", "users": CAPACITY_USERS}
        rates = [one["per_second"] for one in self._entry(wanted)["rounds"] if "per_second" in one]
        return statistics.median(rates) if rates else 0.0

    def _cold_starts(self, sink: str) -> None:
        """Start servers alone, one after the other, in turn; the file cache is warm by now."""
        alone: dict[str, Server] = {}
        for server in self.chosen:
            if server.key not in self.missing and not server.tuned and self._first_model(server):
                alone.setdefault(server.process_key, server)
        for _ in range(self.settings.cold_starts):
            for server in alone.values():
                name = self._first_model(server)
                self.progress.step(f"cold start of {server.label}")
                try:
                    with contextlib.ExitStack() as stack:
                        process, port, _ = self._launch(server, self.fitted[name], sink, stack)
                        seconds = self._first_answer(server, self.fitted[name], process, port)
                except (ServerError, PeerError) as error:
                    self.progress.say(f"{server.label} did not start again: {error}")
                else:
                    self.cold.append({"model": name, "server": server.key, "seconds": seconds})

    def _first_model(self, server: Server) -> str:
        return next((name for name in self.settings.models if name in server.models), "")


def rotated(running: Sequence[Running], number: int) -> list[Running]:
    """Return the servers in an order that differs from round to round."""
    at = number % max(len(running), 1)
    return [*running[at:], *running[:at]]


def describe(server: Server) -> dict[str, Any]:
    """Return what the document says of a server."""
    return {
        "key": server.key,
        "label": server.label,
        "kind": server.kind,
        "version": server.version,
        "note": server.note,
        "tuned": server.tuned,
        "models": list(server.models),
        "process": server.process_key,
    }


def steps(settings: Settings, chosen: Sequence[Server]) -> int:
    """Return how many loads and starts a run has, for its progress."""
    pairs = [server.kind for server in chosen for name in settings.models if name in server.models]
    at_peers_load = sum(kind != "peer" for kind in pairs) if "peer" in pairs else 0
    loads = (len(pairs) * (len(settings.users) + 1) + at_peers_load) * len(settings.rows) * settings.rounds
    return loads + settings.cold_starts * len({server.process_key for server in chosen if not server.tuned})


def write(document: dict[str, Any], path: Path) -> None:
    """Write the document."""
    path.write_text(compact(document) + "\n")


def compact(document: dict[str, Any]) -> str:
    """Return JSON with one line for each entry of a list, so that two results can be compared by eye."""
    parts = []
    for key, value in document.items():
        if isinstance(value, list):
            text = "[\n  " + ",\n  ".join(json.dumps(one) for one in value) + "\n ]"
        else:
            text = json.dumps(value)
        parts.append(f" {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}"
