"""Archives that are made here: the pause image, and the OCI archive with only the layers that a node lacks."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

from hack.images.inputs import TARGETS, inputs_digest
from hack.localcluster.local.images import write_oci_archive, write_pause_archive


def docker_archive(layers: list[bytes]) -> io.BytesIO:
    digests = [hashlib.sha256(layer).hexdigest() for layer in layers]
    configuration = json.dumps({"rootfs": {"diff_ids": [f"sha256:{d}" for d in digests]}}).encode()
    manifest = [{"Config": "c0ffee.json", "RepoTags": ["x:1"], "Layers": [f"{d}.tar" for d in digests]}]
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in [
            *((f"{d}.tar", layer) for d, layer in zip(digests, layers, strict=True)),
            ("c0ffee.json", configuration),
            ("manifest.json", json.dumps(manifest).encode()),
        ]:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    out.seek(0)
    return out


def contents(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {member.name: extracted.read() for member in tar if (extracted := tar.extractfile(member))}


def test_only_unknown_layers_are_in_the_archive_but_all_are_in_the_manifest(tmp_path: Path) -> None:
    old, new = b"old layer", b"a new layer"
    known = f"sha256:{hashlib.sha256(old).hexdigest()}"
    write_oci_archive(docker_archive([old, new]), "tidemill.io/server:dev", {known}, tmp_path / "out.tar")
    files = contents(tmp_path / "out.tar")
    index = json.loads(files["index.json"])["manifests"][0]
    assert index["annotations"] == {"io.containerd.image.name": "tidemill.io/server:dev"}
    manifest = json.loads(files["blobs/" + index["digest"].replace(":", "/")])
    assert [layer["size"] for layer in manifest["layers"]] == [len(old), len(new)]
    assert manifest["layers"][0]["digest"] == known
    assert f"blobs/{known.replace(':', '/')}" not in files
    assert files["blobs/" + manifest["layers"][1]["digest"].replace(":", "/")] == new


def test_every_blob_is_named_after_its_content(tmp_path: Path) -> None:
    write_oci_archive(docker_archive([b"one", b"two"]), "x:1", set(), tmp_path / "out.tar")
    blobs = {name: content for name, content in contents(tmp_path / "out.tar").items() if name.startswith("blobs/")}
    assert len(blobs) == 4
    assert all(name == f"blobs/sha256/{hashlib.sha256(content).hexdigest()}" for name, content in blobs.items())


def test_the_pause_archive_is_the_same_each_time(tmp_path: Path) -> None:
    write_pause_archive(tmp_path / "a.tar", b"\x7fELF")
    write_pause_archive(tmp_path / "b.tar", b"\x7fELF")
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    configuration = json.loads(contents(tmp_path / "a.tar")["config.json"])
    assert configuration["config"]["Entrypoint"] == ["/pause"]


def _source_tree(root: Path) -> None:
    for name in ("images/Containerfile", "images/with-ca", "images/leave-out", "pyproject.toml", "uv.lock"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    for name in ("operator/tidemill", "operator/tidemill_contracts", "images/runtime/tidemill_runtime"):
        (root / name).mkdir(parents=True)
        (root / name / "code.py").write_text("x = 1")


def test_an_image_is_built_anew_exactly_when_what_it_copies_changes(tmp_path: Path) -> None:
    _source_tree(tmp_path)
    before = {target: inputs_digest(target, "base", tmp_path) for target in TARGETS}
    (tmp_path / "operator/tidemill/code.py").write_text("x = 2")
    changed = {target for target in TARGETS if inputs_digest(target, "base", tmp_path) != before[target]}
    assert changed == {"operator"}
    (tmp_path / "operator/tidemill_contracts/code.py").write_text("x = 2")
    changed = {target for target in TARGETS if inputs_digest(target, "base", tmp_path) != before[target]}
    assert changed == {"operator", "trainer", "server", "monitor"}


def test_bytecode_beside_the_source_does_not_count(tmp_path: Path) -> None:
    _source_tree(tmp_path)
    before = inputs_digest("server", "base", tmp_path)
    cache = tmp_path / "images/runtime/tidemill_runtime/__pycache__"
    cache.mkdir()
    (cache / "code.cpython-313.pyc").write_bytes(b"\0")
    assert inputs_digest("server", "base", tmp_path) == before
    assert inputs_digest("server", "other", tmp_path) != before
