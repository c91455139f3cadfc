"""The recycler: a process that makes PersistentVolumes whose claim was deleted available again, with an emptied folder.

Kubernetes' no-provisioner leaves them `Released` for ever. It touches only volumes that carry our label, and only
folders below the state folder's `volumes`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from hack.localcluster.local.client import ApiError, Client
from hack.localcluster.local.objects import TINY_BYTES, VOLUME_LABEL, volumes
from hack.localcluster.local.settings import Settings

_COLLECTION = "/api/v1/persistentvolumes"


def make_folders(settings: Settings) -> None:
    """The folder of each volume, and a small tmpfs in each tiny one."""
    for _, document in volumes(settings):
        folder = Path(document["spec"]["local"]["path"])
        folder.mkdir(parents=True, exist_ok=True)
        if document["metadata"]["name"].startswith("tiny-") and not folder.is_mount():
            options = f"size={TINY_BYTES},mode=0755"
            subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)


def empty(folder: Path) -> None:
    """Delete all that is in `folder` and give it back to root; the folder itself stays, as it may be a mount point."""
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    folder.chmod(0o755)
    shutil.chown(folder, 0, 0)


def recycle(client: Client, volume: dict[str, Any], root: Path) -> bool:
    """Make one volume available when it is ours and released; says whether it did."""
    metadata, spec = volume["metadata"], volume["spec"]
    released = volume.get("status", {}).get("phase") == "Released"
    if not released or metadata.get("labels", {}).get(VOLUME_LABEL) != "true" or "deletionTimestamp" in metadata:
        return False
    folder = Path(spec["local"]["path"])
    if folder.parent != root:
        return False
    empty(folder)
    # With the resourceVersion, so that a volume that was bound anew in between is left alone.
    patch = {"metadata": {"resourceVersion": metadata["resourceVersion"]}, "spec": {"claimRef": None}}
    path = f"{_COLLECTION}/{metadata['name']}"
    client.request("PATCH", path, patch, content_type="application/merge-patch+json")
    return True


def run(kubeconfig: Path, root: Path) -> None:
    """List, recycle, watch; again whenever the watch ends. Never returns."""
    client = Client(kubeconfig)
    while True:
        try:
            listed = client.request("GET", f"{_COLLECTION}?labelSelector={VOLUME_LABEL}%3Dtrue")
            for volume in listed["items"]:
                _report(client, volume, root)
            for event in client.watch(_COLLECTION, listed["metadata"]["resourceVersion"]):
                if event["type"] in ("ADDED", "MODIFIED"):
                    _report(client, event["object"], root)
                elif event["type"] == "ERROR":
                    break
        except (OSError, ApiError) as error:
            print(f"watch ended: {error}", flush=True)
            time.sleep(1)


def _report(client: Client, volume: dict[str, Any], root: Path) -> None:
    try:
        if recycle(client, volume, root):
            print(f"{volume['metadata']['name']}: emptied and available", flush=True)
    except ApiError as error:
        if error.status not in (404, 409):
            raise


if __name__ == "__main__":
    run(Path(sys.argv[1]), Path(sys.argv[2]))
