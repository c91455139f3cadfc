"""SIGKILL for the operator's leader, again and again, beside a test."""

import contextlib
import os
import signal
import threading
from pathlib import Path

from hack.tools.kubectl import Kubectl, KubectlError


class Killer(threading.Thread):
    """Kills the leader every 20 seconds: no warning, no grace, no chance to tidy up.

    Where the node is this machine the process gets SIGKILL; its pod is then deleted, so that the next one starts
    without the kubelet's restart back-off. Elsewhere the pod is deleted by force.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.stopped = threading.Event()
        self.kills = 0
        self.kubectl = Kubectl("tidemill-system")

    def run(self) -> None:
        """Kill until stopped."""
        while not self.stopped.wait(20):
            with contextlib.suppress(KubectlError):
                lease = self.kubectl.get("lease", "tidemill-operator") or {}
                leader = (lease.get("spec") or {}).get("holderIdentity")
                if leader:
                    self.kill(leader)

    def kill(self, pod: str) -> None:
        """Kill one pod's process and count it."""
        for pid in processes_of(pod):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.kubectl.run("delete", "pod", pod, "--grace-period=0", "--force", "--wait=false")
        self.kills += 1

    def stop(self) -> None:
        """Kill no more."""
        self.stopped.set()
        if self.ident is not None:
            self.join()


def processes_of(pod: str) -> list[int]:
    """Return the operator processes of a pod on this machine, by the name that the pod's environment gives them."""
    wanted = f"TIDEMILL_POD_NAME={pod}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if wanted in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found
