"""`python -m hack.generate [--check]`: write the derived files, or say which ones are out of date and fail."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hack.generate import alerts, crd, gitops, pages, protobuf, rooms, tables
from tidemill.api.v1alpha1 import KINDS

ROOT = Path(__file__).resolve().parents[2]


def wanted(root: Path) -> dict[Path, str]:
    """Return the text of every derived file by path; reads the hand-written parts below `root`."""
    files = {root / "crds" / crd.file_name(kind.INFO): crd.render(kind) for kind in KINDS}
    files[root / "crds" / "kustomization.yaml"] = _kustomization()
    files[root / gitops.PATCH] = gitops.patch(root)
    files[root / alerts.RULES] = alerts.rules()
    files |= protobuf.modules(root)
    files |= rooms.picture(root)
    for kind in KINDS:
        page = root / "docs" / "kinds" / pages.file_name(kind.INFO)
        files[page] = pages.render(kind, page.read_text() if page.exists() else None)
    for name in pages.SHARED:
        page = root / "docs" / "kinds" / name
        if page.exists():
            files[page] = pages.shared(name, page.read_text())
    return files | tables.pages(root)


def _kustomization() -> str:
    names = sorted(crd.file_name(kind.INFO) for kind in KINDS)
    head = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n"
    return crd.HEADER + head + "".join(f"- {name}\n" for name in names)


def stale(root: Path) -> list[Path]:
    """Return derived files that differ from what their sources give, and files in crds/ that no type gives."""
    files = wanted(root)
    differ = [path for path, text in files.items() if not path.exists() or path.read_text() != text]
    extra = [path for path in (root / "crds").glob("*.yaml") if path not in files]
    return sorted([*differ, *extra])


def main() -> int:
    """Write or check; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m hack.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail when a file is out of date")
    check = parser.parse_args().check
    late = stale(ROOT)
    if check:
        for path in late:
            print(
                f"{path.relative_to(ROOT)} is out of date: run `make generate` and commit the result", file=sys.stderr
            )
        return 1 if late else 0
    files = wanted(ROOT)
    for path in late:
        if path in files:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[path])
        else:
            path.unlink()
        print(f"wrote {path.relative_to(ROOT)}" if path in files else f"removed {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
