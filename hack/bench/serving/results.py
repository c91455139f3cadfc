"""Figures of a recorded comparison: medians over rounds and their spread. Reads the document, measures nothing."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

LATENCIES = ("p50", "p90", "p99", "p999", "max", "mean")


@dataclass(frozen=True)
class Figure:
    """A median over rounds with the least and the greatest of them."""

    median: float
    least: float
    greatest: float

    @property
    def spread(self) -> float:
        """Half of the range as a share of the median."""
        return (self.greatest - self.least) / 2 / self.median if self.median else 0.0


def figure(values: Iterable[float]) -> Figure | None:
    """Return the figure of some rounds; None of none."""
    found = list(values)
    return Figure(statistics.median(found), min(found), max(found)) if found else None


class Results:
    """Looks figures up by model, server, users and rows."""

    def __init__(self, document: dict[str, Any]) -> None:
        """Take the document of `comparison`."""
        self.document = document
        self.servers: dict[str, dict[str, Any]] = {one["key"]: one for one in document["servers"]}
        self.models: list[str] = list(document["settings"]["models"])
        self.profiles: list[dict[str, Any]] = document.get("profiles", [])
        self._cells = {
            (one["model"], one["server"], one["loop"], one["users"] if one["loop"] == "closed" else 0, one["rows"]): one
            for one in document["cells"]
        }

    def closed(self, model: str, server: str, users: int, rows: int, name: str = "per_second") -> Figure | None:
        """Return a figure of the closed loop; None where it was not measured."""
        return self._figure((model, server, "closed", users, rows), name)

    def open(self, model: str, server: str, rows: int, name: str) -> Figure | None:
        """Return a figure of the open loop at half of the server's capacity."""
        return self._figure((model, server, "open", 0, rows), name)

    def at_peers_load(self, model: str, server: str, rows: int, name: str) -> Figure | None:
        """Return a figure of the open loop at half of the best peer's capacity; of our servers and the floors."""
        return self._figure((model, server, "peers", 0, rows), name)

    def _figure(self, key: tuple[str, str, str, int, int], name: str) -> Figure | None:
        rounds = self._cells[key]["rounds"] if key in self._cells else []
        # Without samples (all that was sent took longer than the measured time) there is a rate but no latency.
        return figure(one[name] for one in rounds if one.get("samples" if name in LATENCIES else "answers"))

    def errors(self, model: str, server: str) -> int:
        """Return how many answers of a server were missing, refused or wrong, in all its cells."""
        cells = (cell for key, cell in self._cells.items() if key[:2] == (model, server))
        return sum(one.get("errors", 1) for cell in cells for one in cell["rounds"])

    def dropped(self, rows: int) -> tuple[float, float]:
        """Return how many prediction records of ours were dropped with requests of so many rows, and of how many."""
        cells = (cell for cell in self.document["cells"] if self.servers[cell["server"]]["kind"] == "own")
        rounds = [one for cell in cells if cell["rows"] == rows for one in cell["rounds"] if "dropped" in one]
        return sum(one["dropped"] for one in rounds), sum(one["answers"] * rows for one in rounds)

    def answers(self, kind: str) -> int:
        """Return how many right answers servers of a kind gave."""
        keys = {key for key, one in self.servers.items() if one["kind"] == kind}
        cells = (cell for cell in self.document["cells"] if cell["server"] in keys)
        return sum(one.get("answers", 0) - one.get("errors", 0) for cell in cells for one in cell["rounds"])

    def memory(self, model: str, server: str) -> float | None:
        """Return MiB after the load."""
        found = (one["mib"] for one in self.document["memory"] if (one["model"], one["server"]) == (model, server))
        return next(found, None)

    def cold(self, server: str) -> Figure | None:
        """Return seconds from the start of the process to the first right answer."""
        process = self.servers[server]["process"]
        same = {key for key, one in self.servers.items() if one["process"] == process}
        return figure(one["seconds"] for one in self.document["cold"] if one["server"] in same)

    def generator(self) -> Figure | None:
        """Return the cores that the load generator took in closed loops of one row, over all servers."""
        closed = (c for c in self.document["cells"] if c["loop"] == "closed" and c["rows"] == 1)
        return figure(one["generator_cpu"] for cell in closed for one in cell["rounds"] if "generator_cpu" in one)

    def peers(self, model: str, tuned: bool = False) -> list[str]:
        """Return the keys of the peers of a model: as they come, or those with a setting turned."""
        return [
            key
            for key, one in self.servers.items()
            if one["kind"] == "peer" and model in one["models"] and one["tuned"] == tuned
        ]

    def of(self, model: str) -> list[str]:
        """Return the keys of all servers that were measured with a model."""
        return [key for key in self.servers if any(cell[:2] == (model, key) for cell in self._cells)]
