"""The loop around every reconciler: gather, plan, apply, report. Knows no kind."""

from __future__ import annotations

from tidemill.engine.contract import Deps, Mapper, Reconciler, Snapshot, Watch, controller_keys, label_keys

__all__ = ["Deps", "Mapper", "Reconciler", "Snapshot", "Watch", "controller_keys", "label_keys"]
