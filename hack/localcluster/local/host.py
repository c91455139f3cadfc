"""What the local cluster changes on the machine itself, and how that is undone.

Before the first change the state of the machine is written to `baseline.json`. Undoing means: whatever is ours by name
or by folder is removed, kernel settings get their old values, and firewall chains that were there before stay.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import socket
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from hack.localcluster.local.processes import command_lines, descendants, kill_all
from hack.localcluster.local.settings import BRIDGE, Settings

_NEEDED_SYSCTLS = {
    "net.ipv4.ip_forward": "1",
    # Two pods of one bridge talk directly; without this the answer to a Service's address would skip translation.
    "net.bridge.bridge-nf-call-iptables": "1",
}
# Set by kubelet and kube-proxy on their own.
_CHANGED_SYSCTLS = (
    "vm.overcommit_memory",
    "kernel.panic",
    "kernel.panic_on_oops",
    "kernel.keys.root_maxkeys",
    "kernel.keys.root_maxbytes",
    "net.ipv4.conf.all.route_localnet",
)
_OUR_CHAINS = re.compile(r"(KUBE|CNI|TIDEMILL)-")
_SERVICES_CHAIN = "TIDEMILL-SERVICES"
# Paths that containerd, kubelet and CNI insist on outside of any folder one may choose.
_FOREIGN_FOLDERS = (
    "/opt/containerd",
    "/run/containerd/s",
    "/run/containerd",
    "/var/lib/cni/results",
    "/var/lib/cni/cache",
    "/var/lib/cni",
    "/var/lib/kubelet/device-plugins",
    "/var/lib/kubelet",
    "/var/log/containers",
)


@dataclass(frozen=True)
class Baseline:
    """The machine before the first change: kernel settings, firewall chains by tool and table, folders, pod cgroups."""

    sysctls: dict[str, str]
    chains: dict[str, dict[str, list[str]]]
    folders: list[str]
    cgroups: list[str]


def _run(*command: str, text_in: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, input=text_in, capture_output=True, text=True, check=False)


def _sysctl(name: str) -> Path:
    return Path("/proc/sys") / name.replace(".", "/")


def _chains(save: str) -> dict[str, list[str]]:
    """table → names of chains that look like ours, from the output of iptables-save."""
    found: dict[str, list[str]] = {}
    table = ""
    for line in save.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(":") and _OUR_CHAINS.match(line[1:]):
            found.setdefault(table, []).append(line[1:].split()[0])
    return found


def write_baseline(folder: Path) -> None:
    """Remember the machine as it is before the first change; kept until `restore`."""
    path = folder / "baseline.json"
    if path.exists():
        return
    sysctls = {name: _sysctl(name) for name in (*_NEEDED_SYSCTLS, *_CHANGED_SYSCTLS)}
    baseline = Baseline(
        sysctls={name: file.read_text().strip() for name, file in sysctls.items() if file.exists()},
        chains={tool: _chains(_run(f"{tool}-save").stdout) for tool in ("iptables", "ip6tables")},
        folders=[name for name in _FOREIGN_FOLDERS if Path(name).exists()],
        cgroups=[str(path) for path in _pod_cgroups()],
    )
    unfinished = folder / "baseline.json.new"
    unfinished.write_text(json.dumps(asdict(baseline), indent=1))
    unfinished.rename(path)


def other_cluster(folder: Path) -> Path | None:
    """The state folder of a local cluster that runs from elsewhere: bridge and addresses belong to one at a time."""
    for arguments in command_lines("containerd").values():
        for argument in arguments:
            path = Path(argument)
            if path.parts[-2:] == ("config", "containerd.toml") and path.parents[1] != folder:
                return path.parents[1]
    return None


def prepare(settings: Settings) -> None:
    """Kernel settings and the bridge. Idempotent."""
    write_baseline(settings.folder)
    if not _sysctl("net.bridge.bridge-nf-call-iptables").exists():
        _run("modprobe", "br_netfilter")
    for name, value in _NEEDED_SYSCTLS.items():
        file = _sysctl(name)
        if file.exists() and file.read_text().strip() != value:
            file.write_text(value)
    if not Path("/sys/class/net", BRIDGE).exists():
        _run("ip", "link", "add", BRIDGE, "type", "bridge")
    # The address is there before the first pod: the API server binds to it.
    prefix = settings.pod_subnet.partition("/")[2]
    _run("ip", "address", "replace", f"{settings.address}/{prefix}", "dev", BRIDGE)
    _run("ip", "link", "set", BRIDGE, "up")
    _keep_services_inside(settings.service_subnet)


def _keep_services_inside(subnet: str) -> None:
    """Refuse what kube-proxy has not translated: an address of a Service that it does not know yet, or no longer.

    Otherwise such a connection follows the default route out of the machine. Where something answers there, as a
    proxy does, the client may keep the connection for ever: the API server then never reached metrics-server, and
    model servers never their monitor.
    """
    for command in (
        ["--new-chain", _SERVICES_CHAIN],
        ["--flush", _SERVICES_CHAIN],
        ["--append", _SERVICES_CHAIN, "--destination", subnet, "--jump", "REJECT"],
    ):
        _run("iptables", "--wait", *command)
    for chain in ("OUTPUT", "FORWARD"):
        rule = [chain, "--destination", subnet, "--jump", _SERVICES_CHAIN]
        if _run("iptables", "--wait", "--check", *rule).returncode != 0:
            _run("iptables", "--wait", "--insert", *rule)


def kill_containers(settings: Settings) -> None:
    """Every container of our containerd, whether it still answers or not: its shims name our socket.

    A container whose shim was killed is found by its cgroup, unless pods' cgroups were there before us.
    """
    lines = command_lines("containerd-shim")
    shims = [pid for pid, arguments in lines.items() if str(settings.containerd_socket) in arguments]
    orphans: list[int] = []
    kept = _baseline(settings.folder).cgroups
    for top in (path for path in _pod_cgroups() if str(path) not in kept):
        for members in top.rglob("cgroup.procs"):
            with contextlib.suppress(OSError):
                orphans += [int(pid) for pid in members.read_text().split()]
    kill_all([*descendants(shims), *shims, *orphans])


def remove(folder: Path) -> None:
    """Undo everything that `prepare` and the node's programs did. All processes must have ended."""
    baseline = _baseline(folder)
    _remove_shim_sockets(folder, "/run/containerd/s" in baseline.folders)
    _unmount(folder)
    _remove_network()
    for tool in ("iptables", "ip6tables"):
        _remove_chains(tool, baseline.chains.get(tool, {}))
    _remove_cgroups(set(baseline.cgroups))
    for name, value in baseline.sysctls.items():
        if _sysctl(name).exists() and _sysctl(name).read_text().strip() != value:
            _sysctl(name).write_text(value)
    _remove_foreign_files(folder, set(baseline.folders))


def _baseline(folder: Path) -> Baseline:
    """What was before; nothing at all when it was never written."""
    try:
        return Baseline(**json.loads((folder / "baseline.json").read_text()))
    except (OSError, ValueError, TypeError):
        return Baseline({}, {}, [], [])


def mounts_below(folder: Path) -> list[str]:
    """Mount points in `folder`, innermost first."""
    prefix = f"{folder}/"
    points = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        # Octal escapes stand for space, tab, newline and backslash.
        point = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), line.split()[4])
        if point.startswith(prefix):
            points.append(point)
    return points[::-1]


def _unmount(folder: Path) -> None:
    for point in mounts_below(folder):
        if _run("umount", point).returncode != 0:
            _run("umount", "--lazy", point)


def _remove_shim_sockets(folder: Path, others: bool) -> None:
    """Sockets of our shims; with no `others` also dead ones, whose owner's folder a crash took away."""
    sockets = Path("/run/containerd/s")
    for path in dead_sockets(sockets) if not others else ():
        path.unlink(missing_ok=True)
    for address in folder.glob("containerd/state/io.containerd.runtime.v2.task/*/*/address"):
        path = Path(address.read_text().strip().removeprefix("unix://"))
        if path.parent == sockets:
            path.unlink(missing_ok=True)


def dead_sockets(folder: Path) -> list[Path]:
    """Unix sockets of a folder that nobody listens on any more. Others may use the same folder."""
    return [path for path in sorted(folder.glob("*")) if path.is_socket() and _refused(path)]


def _refused(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(1)
        try:
            client.connect(str(path))
        except ConnectionRefusedError:
            return True
        except OSError:
            # Busy, forbidden, gone, or of another type: not known to be dead.
            return False
    return False


def _remove_network() -> None:
    ports = Path("/sys/class/net", BRIDGE, "brif")
    for port in [entry.name for entry in ports.iterdir()] if ports.exists() else []:
        _run("ip", "link", "delete", port)
    _run("ip", "link", "delete", BRIDGE)


def flush_connections(settings: Settings) -> None:
    """Forget tracked connections of pods and Services, so that a new cluster's addresses start clean."""
    for network in (settings.pod_subnet, settings.service_subnet):
        for side in ("--orig-src", "--orig-dst", "--reply-src", "--reply-dst"):
            _run("conntrack", "--delete", side, network)


def _remove_chains(tool: str, kept: dict[str, list[str]]) -> None:
    saved = _run(f"{tool}-save").stdout
    script = removal_script(saved, kept)
    if script:
        _run(f"{tool}-restore", "--noflush", text_in=script)


def removal_script(saved: str, kept: dict[str, list[str]]) -> str:
    """Input for `iptables-restore --noflush` that deletes our chains and the rules that jump to them.

    `saved` is the output of iptables-save, `kept` maps a table to chains that must stay. Rules inside our chains go
    with the chain; of other chains only the rules whose target is one of ours are deleted. Empty when there is nothing.
    """
    lines: list[str] = []
    for section in re.findall(r"^\*.*?^COMMIT$", saved, re.MULTILINE | re.DOTALL):
        table = section.splitlines()[0][1:]
        ours = set(_chains(section).get(table, [])) - set(kept.get(table, []))
        rules = []
        for line in section.splitlines():
            found = re.match(r"-A (\S+) .*?-[jg] (\S+)", line)
            if found and found[2] in ours and found[1] not in ours:
                rules.append("-D" + line[2:])
        if ours:
            chains = sorted(ours)
            lines += [f"*{table}", *rules, *(f"-F {c}" for c in chains), *(f"-X {c}" for c in chains), "COMMIT"]
    return "\n".join(lines) + "\n" if lines else ""


def _pod_cgroups() -> list[Path]:
    """The kubelet's cgroup in each hierarchy (cgroup v1) or in the only one (v2)."""
    return [*Path("/sys/fs/cgroup").glob("kubepods"), *Path("/sys/fs/cgroup").glob("*/kubepods")]


def _remove_cgroups(kept: set[str]) -> None:
    for top in _pod_cgroups():
        if str(top) in kept:
            continue
        folders = sorted((path for path in top.rglob("*") if path.is_dir()), key=lambda path: -len(path.parts))
        for folder in [*folders, top]:
            try:
                folder.rmdir()
            except OSError:
                continue


def _remove_foreign_files(folder: Path, kept: set[str]) -> None:
    for results in (Path("/var/lib/cni/results"), Path("/var/lib/cni/cache")):
        for path in results.glob("tidemill-*"):
            path.unlink(missing_ok=True)
    for link in Path("/var/log/containers").glob("*"):
        if link.is_symlink() and link.readlink().is_relative_to(folder):
            link.unlink()
    for name in _FOREIGN_FOLDERS:
        path = Path(name)
        if name in kept or not path.is_dir():
            continue
        if name == "/var/lib/kubelet/device-plugins":
            shutil.rmtree(path, ignore_errors=True)
        try:
            path.rmdir()
        except OSError:
            continue
