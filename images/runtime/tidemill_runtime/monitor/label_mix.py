"""Whether a client's labels differ from those of the others at the same scores: evidence that grows label by label.

Labels come in blocks. In each stratum (version, predicted class or range, score) a client's share of labels that agree
with the prediction is compared with that of all others who are not suspected themselves, and with that of these without
the one who sent most: of two who differ nobody can say who is wrong, so at least two others must agree. The smaller of
the two e-values counts. What is bet on a block was learned from earlier blocks. Pure, of counts; storage is elsewhere.
"""

import json
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from tidemill_runtime.monitor import gaming_evidence
from tidemill_runtime.monitor.gaming_evidence import Floats

POOL: Final = 0
"""The number of all clients that are not told apart, and of those without a key: compared with, never judged."""
_MEMORY: Final = 200.0
"""Labels of one client in one stratum that are remembered with full weight, so that a client who changes is seen."""
Cell = tuple[float, float]  # labels that agree, labels
Evidence = tuple[float, float]  # log e-values: against all others, and against these without the largest
Block = Mapping[int, Mapping[str, Cell]]  # by client, by stratum


@dataclass(frozen=True)
class Difference:
    """A client whose labels differ."""

    client: int
    share: float  # of its labels in this period that agree
    expected: float  # the same of others' labels in its strata
    labels: int


@dataclass
class LabelMix:
    """What is known of all clients in this period."""

    evidence: dict[int, Evidence] = field(default_factory=dict)
    seen: dict[int, dict[str, Cell]] = field(default_factory=dict)  # as remembered

    def to_json(self) -> str:
        """Return it as it is stored."""
        return json.dumps({"evidence": self.evidence, "seen": self.seen})

    @classmethod
    def from_json(cls, text: str) -> "LabelMix":
        """Return what was stored."""
        found = json.loads(text)
        seen = {int(c): {s: (cell[0], cell[1]) for s, cell in cells.items()} for c, cells in found["seen"].items()}
        return cls({int(client): (pair[0], pair[1]) for client, pair in found["evidence"].items()}, seen)

    def look(self, block: Block, suspected: Set[int], limit: float, threshold: float) -> Difference | None:
        """Add a block; return the client with the most evidence if that suffices.

        One at a time: while somebody's false labels are among "the others", everybody else differs from these, too. So
        the evidence against all begins anew, and the one found is not compared with any more.
        """
        judged = sorted(client for client in block if client != POOL)
        if judged:
            for client, gain in zip(judged, self._gained(block, judged, suspected, limit), strict=True):
                before = self.evidence.get(client, (0.0, 0.0))
                self.evidence[client] = (before[0] + gain[0], before[1] + gain[1])
        self._remember(block)
        against = {c: min(pair) for c, pair in self.evidence.items() if min(pair) >= threshold}
        if not against:
            return None
        client = max(against, key=lambda c: against[c])
        found = self._difference(client, suspected)
        if client in suspected:
            self.evidence[client] = (0.0, 0.0)
        else:
            self.evidence.clear()
        return found

    def forget(self, clients: Iterable[int]) -> None:
        """Forget clients that are gone."""
        for client in clients:
            self.evidence.pop(client, None)
            self.seen.pop(client, None)

    def _gained(self, block: Block, judged: list[int], suspected: Set[int], limit: float) -> list[Evidence]:
        strata = sorted({stratum for cells in block.values() for stratum in cells})
        trusted = [client for client in {*block, *self.seen} if client not in suspected]
        new = {client: _matrix(block.get(client, {}), strata) for client in {*judged, *trusted}}
        old = {client: _matrix(self.seen.get(client, {}), strata) for client in {*judged, *trusted}}
        nothing = np.zeros((2, len(strata)))
        new_sum = sum((new[client] for client in trusted), nothing)
        old_sum = sum((old[client] for client in trusted), nothing)
        own_new, own_old = np.array([new[c] for c in judged]), np.array([old[c] for c in judged])
        counted = np.array([client not in suspected for client in judged])[:, None, None]
        other_new, other_old = new_sum - own_new * counted, old_sum - own_old * counted
        largest = [_largest(old, trusted, but=client) for client in judged]
        fewer_new = other_new - np.array([nothing if one is None else new[one] for one in largest])
        fewer_old = other_old - np.array([nothing if one is None else old[one] for one in largest])
        every = _log_ratios(own_new, own_old, other_new, other_old, limit)
        fewer = _log_ratios(own_new, own_old, fewer_new, fewer_old, limit)
        return list(zip(every.tolist(), fewer.tolist(), strict=True))

    def _remember(self, block: Block) -> None:
        for client, cells in block.items():
            known = self.seen.setdefault(client, {})
            for stratum, (agreeing, labels) in cells.items():
                before = known.get(stratum, (0.0, 0.0))
                total = before[1] + labels
                kept = min(1.0, _MEMORY / total) if total else 1.0
                known[stratum] = ((before[0] + agreeing) * kept, total * kept)

    def _difference(self, client: int, suspected: Set[int]) -> Difference:
        """Return the two shares, the others' weighted as the client's labels are spread over strata."""
        share = expected = weight = 0.0
        for stratum, (agreeing, labels) in self.seen.get(client, {}).items():
            cells = [
                known[stratum]
                for other, known in self.seen.items()
                if other != client and other not in suspected and stratum in known
            ]
            others = sum(cell[1] for cell in cells)
            if others and labels:
                share += agreeing
                expected += labels * sum(cell[0] for cell in cells) / others
                weight += labels
        return Difference(client, share / max(weight, 1.0), expected / max(weight, 1.0), round(weight))


def _largest(old: Mapping[int, Floats], trusted: Iterable[int], *, but: int) -> int | None:
    """Return whoever sent most labels so far, in the strata that matter; the smallest number of equal ones."""
    others = sorted(client for client in trusted if client != but)
    return max(others, key=lambda client: float(old[client][1].sum())) if others else None


def _log_ratios(own_new: Floats, own_old: Floats, other_new: Floats, other_old: Floats, limit: float) -> Floats:
    """Return the log e-value of each client, all strata together: float64[clients] of float64[clients, 2, strata]."""
    bets_other = gaming_evidence.guess(other_old[:, 0], other_old[:, 1])
    bets_own = gaming_evidence.guess(own_old[:, 0], own_old[:, 1], bets_other)
    own, others = (own_new[:, 0], own_new[:, 1]), (other_new[:, 0], other_new[:, 1])
    summed: Floats = gaming_evidence.difference(own, others, (bets_own, bets_other), limit).sum(axis=1)
    return summed


def _matrix(cells: Mapping[str, Cell], strata: list[str]) -> Floats:
    """Return float64[2, strata]: labels that agree, labels."""
    return np.array([cells.get(stratum, (0.0, 0.0)) for stratum in strata], dtype=np.float64).T.reshape(2, len(strata))
