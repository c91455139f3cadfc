"""`python -m hack.install [render|remove] [OVERLAY]`: an overlay with the images that IMAGE_PREFIX and IMAGE_TAG name.

`render` prints it: the manifests name the images of a local build, and kustomize alone cannot change the ones in the
operator's settings. `remove` deletes what was applied. The CustomResourceDefinitions are part of it, and with them
would go every resource of their kinds, so it refuses while there are any, unless it is told --force.
"""

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

from hack.demo.kubectl import Kubectl, KubectlError, executable

ROOT = Path(__file__).resolve().parents[1]
DEFAULT_OVERLAY = ROOT / "manifests" / "overlays" / "cluster-wide"
PLURALS = ("trainingpipelines", "trainingruns", "modelversions", "modeldeployments", "modelmonitors")
_LOCAL_IMAGE = re.compile(r"tidemill\.io/(operator|trainer|server|monitor|router):dev")


def render(overlay: str | Path = DEFAULT_OVERLAY) -> str:
    """Return the manifests as YAML.

    Raises:
        KubectlError: kustomize refuses the overlay.
    """
    prefix, tag = os.environ.get("IMAGE_PREFIX", "tidemill.io"), os.environ.get("IMAGE_TAG", "dev")
    done = subprocess.run([executable(), "kustomize", str(overlay)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise KubectlError(f"kubectl kustomize {overlay}: {done.stderr.strip()}")
    return _LOCAL_IMAGE.sub(rf"{prefix}/\1:{tag}", done.stdout)


def resources() -> list[str]:
    """Return every resource of our kinds in the cluster as `namespace/plural/name`."""
    # A removal may have been interrupted: kubectl refuses a list in which one kind is unknown.
    known = Kubectl().run("get", "crd", "-o", "name")
    kinds = ",".join(f"{plural}.tidemill.io" for plural in PLURALS if f"/{plural}.tidemill.io" in known)
    if not kinds:
        return []
    columns = "-o=jsonpath={range .items[*]}{.metadata.namespace}/{.kind}/{.metadata.name}{'\\n'}{end}"
    return Kubectl().run("get", kinds, "-A", columns).split()


def remove(overlay: str | Path = DEFAULT_OVERLAY) -> None:
    """Delete what the overlay holds, and with the CustomResourceDefinitions all resources of their kinds."""
    Kubectl().run("delete", "--ignore-not-found", "--wait=true", "-f", "-", stdin=render(overlay), timeout=300)


def main() -> int:
    """Exit codes: 0 done, 1 refused or failed with a sentence, 2 wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m hack.install")
    parser.add_argument("what", choices=("render", "remove"))
    parser.add_argument("overlay", nargs="?", default=str(DEFAULT_OVERLAY))
    parser.add_argument("--force", action="store_true", help="remove resources of our kinds, too")
    arguments = parser.parse_args()
    try:
        if arguments.what == "render":
            print(render(arguments.overlay))
            return 0
        found = [] if arguments.force else resources()
        if found:
            namespaces = sorted({item.partition("/")[0] for item in found})
            raise KubectlError(
                f"{len(found)} resources in {', '.join(namespaces)} would be removed with their kinds, for example "
                f"{found[0]}; delete them first, or run `make uninstall FORCE=1`"
            )
        remove(arguments.overlay)
    except (KubectlError, subprocess.TimeoutExpired) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
