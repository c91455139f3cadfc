"""What the kind provider asks of kind and of the engine; both are small programs here that write it down."""

from __future__ import annotations

import io
import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hack.images import __main__ as images
from hack.images.engines import Engine, choose_engine
from hack.localcluster import LocalClusterError, Progress, choose_provider, kind
from hack.localcluster.kind import KindProvider

pytestmark = pytest.mark.slow

QUIET = Progress(quiet=True)
FAKE = """#!{python}
import json, os, sys, time
from pathlib import Path
name, arguments = Path(sys.argv[0]).name, sys.argv[1:]
with open({log!r}, "a") as log:
    provider = os.environ.get("KIND_EXPERIMENTAL_PROVIDER")
    log.write(json.dumps([name, *arguments, provider]) + "\\n")
state = Path({state!r})
nodes = json.loads(state.read_text())
if name in ("docker", "podman"):
    if arguments[0] == "ps" and "--no-trunc" in arguments:
        assert "label=io.x-k8s.kind.role=control-plane" in arguments
        print(json.loads(Path({made!r}).read_text()) if nodes else "")
    elif arguments[0] == "ps":
        print("\\n".join(n for n, runs in nodes.items() if runs or "--all" in arguments))
    elif arguments[0] == "start":
        state.write_text(json.dumps(dict.fromkeys(nodes, True)))
    elif arguments[0] == "save":
        sys.stdout.write("archive of " + arguments[1])
elif name == "kind":
    if arguments == ["version"]:
        print("kind {version} go1.25.1 linux/amd64")
    elif arguments[:2] == ["create", "cluster"]:
        if Path({log!r} + ".refuses").exists():
            state.write_text(json.dumps({{"tidemill-control-plane": True}}))  # another clone was quicker
            sys.exit("node(s) already exist for a cluster with the name")
        Path({made!r}).write_text(json.dumps(f"id-{{time.time_ns()}}"))
        state.write_text(json.dumps({{"tidemill-control-plane": True}}))
    elif arguments[:2] == ["delete", "cluster"]:
        state.write_text("{{}}")
    elif arguments[:2] == ["load", "image-archive"]:
        print(Path(arguments[2]).read_text(), file=open({log!r} + ".archive", "w"))
elif name == "go":
    program = Path(os.environ["GOBIN"], "kind")
    program.parent.mkdir(parents=True)
    program.write_text(Path({folder!r}, "kind").read_text().replace("v0.29.1", "v0.30.0"))
    program.chmod(0o755)
elif name == "kubectl" and "kube-system" in arguments:
    print("uid-" + json.loads(Path({made!r}).read_text()))
elif name == "kubectl":
    sys.exit(0 if nodes and all(nodes.values()) else 1)
"""


class Machine:
    """Programs on PATH, the nodes that the engine has, and what was asked."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log, self.state = folder, folder / "log", folder / "nodes.json"
        self.made = folder / "made.json"
        self.nodes({})
        self.replaced()
        self.log.touch()

    def replaced(self) -> None:
        """Another clone deleted the cluster and made one: other containers of the same names."""
        self.made.write_text(json.dumps(f"id-of-another-clone-{time.time_ns()}"))

    def nodes(self, nodes: dict[str, bool]) -> None:
        self.state.write_text(json.dumps(nodes))

    def program(self, name: str, version: str = "v0.30.0") -> None:
        path = self.folder / name
        words = {name: str(getattr(self, name)) for name in ("log", "state", "made", "folder")} | {"version": version}
        path.write_text(FAKE.format(python=sys.executable, **words))
        path.chmod(0o755)

    def calls(self, name: str) -> list[list[str]]:
        """Arguments of each call of a program."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [line[1:-1] for line in lines if line[0] == name]

    def providers(self) -> set[Any]:
        """What kind was told of the engine by the calls that need it."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return {line[-1] for line in lines if line[0] == "kind" and line[1] != "version"}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine with Docker, kind and kubectl, and a repository and a cache of its own."""
    for name in ("KUBECONFIG", "TIDEMILL_PROVIDER", "KIND_EXPERIMENTAL_PROVIDER", "IMAGE_PREFIX", "IMAGE_TAG"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "bin"
    folder.mkdir()
    machine = Machine(folder)
    for name in ("docker", "kind", "kubectl"):
        machine.program(name)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("TIDEMILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TIDEMILL_STATE", str(tmp_path / "repository" / ".tidemill" / "cluster"))
    monkeypatch.setattr(kind, "REPOSITORY", tmp_path / "repository")
    return machine


def chosen() -> KindProvider:
    provider = choose_provider(QUIET)
    assert isinstance(provider, KindProvider)
    return provider


def test_up_makes_one_cluster_of_the_right_version_with_a_kubeconfig_of_its_own(machine: Machine) -> None:
    provider = chosen()
    provider.up()
    (create,) = [c for c in machine.calls("kind") if c[:2] == ["create", "cluster"]]
    assert "--name=tidemill" in create
    assert any(a.startswith("--image=kindest/node:v1.34.") and "@sha256:" in a for a in create)
    assert f"--kubeconfig={provider.kubeconfig()}" in create
    assert provider.status().running
    assert provider.status().components == {"engine": "docker", "tidemill-control-plane": "running"}


def test_up_again_only_renews_the_kubeconfig(machine: Machine) -> None:
    machine.nodes({"tidemill-control-plane": True})
    chosen().up()
    assert not [c for c in machine.calls("kind") if c[0] == "create"]
    assert ["export", "kubeconfig"] in [c[:2] for c in machine.calls("kind")]


def test_nodes_that_a_restart_of_the_engine_left_stopped_are_started(machine: Machine) -> None:
    machine.nodes({"tidemill-control-plane": False})
    assert not chosen().status().running
    chosen().up()
    assert ["start", "tidemill-control-plane"] in machine.calls("docker")
    assert chosen().status().running


@pytest.mark.parametrize(
    ("ours", "command"),
    [(True, "make cluster-down cluster"), (False, "kind delete cluster --name=tidemill && make cluster")],
)
def test_a_cluster_that_does_not_answer_is_said_with_the_command(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, ours: bool, command: str
) -> None:
    chosen().up()
    if not ours:
        machine.replaced()
    monkeypatch.setattr(KindProvider, "_answers", lambda self: False)
    monkeypatch.setattr(kind, "wait_until", lambda what, ready, **_: (_ for _ in ()).throw(LocalClusterError(what)))
    with pytest.raises(LocalClusterError, match=f"make it anew: {command}"):
        chosen().up()


def test_asking_and_removing_nothing_needs_no_kind(machine: Machine) -> None:
    (machine.folder / "kind").unlink()
    provider = chosen()
    assert not provider.status().running
    provider.down()
    assert machine.calls("kind") == machine.calls("go") == []


def test_down_deletes_the_cluster_that_was_made_here(machine: Machine) -> None:
    provider = chosen()
    provider.up()
    provider.kubeconfig().touch()
    provider.down()
    assert ["delete", "cluster"] in [c[:2] for c in machine.calls("kind")]
    assert list(provider.kubeconfig().parent.glob("kind*")) == []


def test_a_cluster_of_another_clone_is_used_and_not_deleted(machine: Machine) -> None:
    machine.nodes({"tidemill-control-plane": True})
    provider = chosen()
    provider.up()
    provider.kubeconfig().touch()
    provider.down()
    assert "delete" not in [c[0] for c in machine.calls("kind")]
    assert not provider.kubeconfig().exists()
    assert provider.status().running


def test_a_cluster_that_took_the_place_of_ours_is_used_and_not_deleted(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen().up()
    machine.replaced()
    provider = KindProvider(Progress(), "docker")
    provider.up()
    assert "of another clone is up and is used" in capsys.readouterr().err
    provider.down()
    assert "kind delete cluster --name=tidemill" in capsys.readouterr().err
    assert "delete" not in [c[0] for c in machine.calls("kind")]
    assert provider.status().running


def test_a_creation_that_failed_claims_nothing(machine: Machine) -> None:
    Path(f"{machine.log}.refuses").touch()
    with pytest.raises(LocalClusterError, match="already exist"):
        chosen().up()
    chosen().down()
    assert "delete" not in [c[0] for c in machine.calls("kind")]


def test_a_creation_that_was_interrupted_is_removed_by_the_next_down(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = KindProvider._kind

    def interrupted(self: KindProvider, *arguments: str) -> str:
        really(self, *arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(KindProvider, "_kind", interrupted)
        with pytest.raises(KeyboardInterrupt):
            chosen().up()
    chosen().down()
    assert not chosen().status().running


def test_podman_is_used_where_docker_does_not_answer_and_kind_is_told(machine: Machine) -> None:
    (machine.folder / "docker").rename(machine.folder / "podman")
    chosen().up()
    assert machine.providers() == {"podman"}
    assert machine.calls("docker") == []


def test_a_kind_of_path_that_is_too_old_is_not_used(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.program("kind", "v0.29.1")
    machine.program("go")
    monkeypatch.setattr(kind, "go_toolchain", lambda: machine.folder / "go")
    chosen().up()
    assert machine.calls("go") == [["install", "sigs.k8s.io/kind@v0.30.0"]]
    assert [c[:2] for c in machine.calls("kind")] == [["version"], ["create", "cluster"]]


def test_a_newer_kind_of_path_is_used(machine: Machine) -> None:
    machine.program("kind", "v0.33.0-alpha+1234")
    chosen().up()
    assert ["create", "cluster"] in [c[:2] for c in machine.calls("kind")]


def test_images_are_loaded_as_archives(machine: Machine) -> None:
    machine.nodes({"tidemill-control-plane": True})
    chosen().load_stream("tidemill.io/server:dev", io.BytesIO(b"bytes of an image"))
    (load,) = [c for c in machine.calls("kind") if c[0] == "load"]
    assert load[:2] == ["load", "image-archive"]
    assert load[3:] == ["--name=tidemill"]
    assert Path(f"{machine.log}.archive").read_text().strip() == "bytes of an image"
    assert not Path(load[2]).exists()


class Built(Engine):
    """An engine whose images have the identity that a test gives them."""

    identity = "one"

    def image_id(self, tag: str) -> str:
        return f"{tag} {self.identity}"


def test_what_was_loaded_is_known_by_cluster_and_by_all_clones(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loads(clone: str, identity: str) -> int:
        """Load from a clone, and return how many images really went."""
        monkeypatch.setattr(kind, "REPOSITORY", tmp_path / clone)
        provider, engine = chosen(), Built("docker", ["docker"])
        engine.identity = identity
        before = len([c for c in machine.calls("kind") if c[0] == "load"])
        provider.up()
        images.load(engine, provider, ["server"], QUIET)
        return len([c for c in machine.calls("kind") if c[0] == "load"]) - before

    assert loads("ours", "one") == 1
    assert loads("ours", "one") == 0
    assert loads("theirs", "two") == 1
    assert loads("ours", "one") == 1, "another clone loaded its own image under the same name"
    machine.replaced()
    assert loads("ours", "one") == 1, "another cluster has nothing yet"


def test_without_its_engine_a_cluster_that_was_made_is_not_forgotten(machine: Machine) -> None:
    provider = chosen()
    provider.kubeconfig().parent.mkdir(parents=True)
    provider.kubeconfig().touch()
    (machine.folder / "docker").unlink()
    assert chosen().status().components == {"engine": "does not answer"}
    for act in (chosen().up, chosen().down):
        with pytest.raises(LocalClusterError, match="start Docker or podman"):
            act()
    assert provider.kubeconfig().exists()


def test_the_patch_names_the_version_whose_form_it_has() -> None:
    document = yaml.safe_load(kind._CONFIGURATION.read_text())
    (patch,) = [yaml.safe_load(text) for text in document["kubeadmConfigPatches"]]
    assert patch["apiVersion"] == "kubeadm.k8s.io/v1beta3"
    assert all(isinstance(v, str) for v in patch["controllerManager"]["extraArgs"].values())


def test_docker_saves_and_pushes_under_the_name_that_manifests_use(machine: Machine) -> None:
    engine = choose_engine(QUIET)
    assert engine.name == "docker"
    with engine.stream("tidemill.io/server:dev") as stream:
        assert stream.read() == b"archive of tidemill.io/server:dev"
    engine.push("registry.example.com/me/server:v1")
    assert machine.calls("docker")[-1] == ["push", "--quiet", "registry.example.com/me/server:v1"]


@pytest.mark.parametrize("prefix", [None, "tidemill.io", "tidemill"])
def test_nothing_is_pushed_to_a_registry_that_is_not_yours(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, prefix: str | None
) -> None:
    if prefix:
        monkeypatch.setenv("IMAGE_PREFIX", prefix)
    with pytest.raises(LocalClusterError, match="PUSH=1 IMAGE_PREFIX="):
        images.push(Engine("docker", ["docker"]), ["server"], QUIET)
    assert machine.calls("docker") == []


def test_the_prefix_is_refused_before_anything_is_built(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["hack.images", "--push"])
    assert images.main() == 1
    assert "IMAGE_PREFIX does not name a registry of yours" in capsys.readouterr().err
    assert not {"build", "image", "push"} & {call[0] for call in machine.calls("docker")}


def test_a_registry_of_yours_gets_every_target(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGE_PREFIX", "registry.example.com/tidemill")
    monkeypatch.setenv("IMAGE_TAG", "v1")
    images.push(Engine("docker", ["docker"]), ["server", "router"], QUIET)
    pushed = [c[-1] for c in machine.calls("docker")]
    assert pushed == ["registry.example.com/tidemill/server:v1", "registry.example.com/tidemill/router:v1"]
