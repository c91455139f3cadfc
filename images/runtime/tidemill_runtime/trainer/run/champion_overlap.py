"""Whether a champion may have learned rows that are held out now: its metrics would then be better than it is.

It is decided by how both were divided and never by the rows themselves, which a version does not keep.
"""

from tidemill_contracts.artifact import Lineage
from tidemill_contracts.holdout import Holdout
from tidemill_runtime.trainer.run import time_cut


def overlap(now: Holdout, seed: int, champion: Lineage) -> str | None:
    """Return why a champion may have been trained on rows that are held out `now`, None where it was not."""
    before = champion.holdout
    if before is None:
        return _unknown(now, seed, champion)
    if before.type != now.type:
        return f"its run divided rows by {_named(before)}, this one by {_named(now)}"
    if before.column != now.column:
        return f"its run divided rows by column {before.column!r}, this one by {now.column!r}"
    if now.type == "Column":
        return None if now.rows == before.rows else "the rows marked as test are not those of its run"
    if now.type == "Time":
        return _by_time(now.cut or "", before.cut or "")
    if champion.seed != seed:
        return f"its run had seed {champion.seed}, this one has {seed}"
    if now.ratio is not None and before.ratio is not None and now.ratio > before.ratio:
        return f"its run held out {before.ratio:g} of the rows, this one {now.ratio:g}"
    if now.columns is not None and before.columns is not None and now.columns != before.columns:
        return "the data had other columns then, and a row's side follows from its values"
    return None


def _unknown(now: Holdout, seed: int, champion: Lineage) -> str | None:
    """A version of an older trainer, which had one way to divide rows, or a file that was imported."""
    if not champion.data:
        return "nothing is known of the rows that it was trained on"
    if now.type != "Stratified":
        return f"its run divided rows without evaluation.split, this one by {_named(now)}"
    return f"its run had seed {champion.seed}, this one has {seed}" if champion.seed != seed else None


def _by_time(now: str, before: str) -> str | None:
    later = time_cut.is_later(before, now)
    if later is None:
        return f"its run held out rows from {before} on, which cannot be compared with {now}"
    return f"its run held out rows from {before} on only, this one from {now} on" if later else None


def _named(holdout: Holdout) -> str:
    if holdout.type == "Stratified":
        return "the default split"
    return f"split {holdout.type}" + (f" of column {holdout.column!r}" if holdout.column is not None else "")
