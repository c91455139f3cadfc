"""The command line of the cluster providers. stdout holds answers for scripts, stderr what a person reads."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hack.localcluster.choice import choose_provider
from hack.localcluster.local.binaries import binaries
from hack.localcluster.local.processes import detach_children
from hack.localcluster.progress import LocalClusterError, Progress
from hack.localcluster.provider import Provider
from hack.tools.pypi import ToolError


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hack.localcluster", description="A Kubernetes cluster to try things on."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="bring the cluster up, or heal it")
    commands.add_parser("down", help="remove the cluster and everything it changed on this machine")
    load = commands.add_parser("load-image", help="load image archives into the cluster's nodes")
    load.add_argument("archives", nargs="+", type=Path, metavar="ARCHIVE", help="docker-archive or OCI archive (tar)")
    commands.add_parser("prepare", help="put the server programs that control_plane() needs into the cache")
    commands.add_parser("kubeconfig", help="print the path of the administrator's kubeconfig")
    commands.add_parser("status", help="print what runs; exit code 1 when the cluster is not up")
    return parser


def _run(provider: Provider, arguments: argparse.Namespace) -> int:
    match arguments.command:
        case "prepare":
            binaries(Progress())
        case "up":
            provider.up()
        case "down":
            provider.down()
        case "load-image":
            provider.load_images(arguments.archives)
        case "kubeconfig":
            print(provider.kubeconfig())
        case "status":
            status = provider.status()
            print(
                f"provider: {status.provider}\nrunning: {str(status.running).lower()}\nkubeconfig: {status.kubeconfig}"
            )
            for name, state in status.components.items():
                print(f"{name}: {state}")
            return 0 if status.running else 1
    return 0


def main() -> int:
    """Exit codes: 0 done, 1 not up (status) or failed with a sentence, 2 wrong usage."""
    arguments = _parser().parse_args()
    try:
        return _run(choose_provider(Progress()), arguments)
    except (LocalClusterError, ToolError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        detach_children()


if __name__ == "__main__":
    sys.exit(main())
