"""`python -m hack.install [OVERLAY]`: print an overlay with the images that IMAGE_PREFIX and IMAGE_TAG name.

The manifests name the images of a local build; kustomize alone cannot change the ones in the operator's settings.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from hack.demo.kubectl import executable

ROOT = Path(__file__).resolve().parents[1]
DEFAULT_OVERLAY = ROOT / "manifests" / "overlays" / "cluster-wide"
_LOCAL_IMAGE = re.compile(r"tidemill\.io/(operator|trainer|server|monitor|router):dev")


def render(overlay: str | Path = DEFAULT_OVERLAY) -> str:
    """Return the manifests as YAML."""
    prefix, tag = os.environ.get("IMAGE_PREFIX", "tidemill.io"), os.environ.get("IMAGE_TAG", "dev")
    text = subprocess.run([executable(), "kustomize", str(overlay)], capture_output=True, text=True, check=True).stdout
    return _LOCAL_IMAGE.sub(rf"{prefix}/\1:{tag}", text)


if __name__ == "__main__":
    print(render(*sys.argv[1:2]))
