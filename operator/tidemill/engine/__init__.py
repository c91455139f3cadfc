"""Queue, reconcile loop, resync, leader election, health: everything that runs, nothing that knows a kind."""
