"""`python -m hack.demo [run|clean]`."""

import argparse
import sys

from hack.demo.scenario import Scenario, ScenarioError
from hack.localcluster.choice import use_cluster
from hack.localcluster.progress import LocalClusterError
from hack.tools.kubectl import TIMEOUTS, KubectlError
from hack.tools.pypi import ToolError


def run(scenario: Scenario) -> None:
    """Run the whole loop."""
    scenario.install()
    scenario.apply_quickstart()
    scenario.first_version()
    scenario.predict()
    scenario.start_traffic()
    scenario.better_version()
    scenario.slow_version()
    scenario.drift()
    scenario.new_rows()
    scenario.traffic.stop()
    scenario.end()


def main() -> int:
    """Parse the command line, run or clean, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m hack.demo", description=sys.modules["hack.demo"].__doc__)
    parser.add_argument("what", nargs="?", choices=("run", "clean"), default="run")
    parser.add_argument("--namespace", default="tidemill-demo")
    arguments = parser.parse_args()
    scenario = Scenario(namespace=arguments.namespace)
    try:
        use_cluster()
        if arguments.what == "clean":
            scenario.clean()
        else:
            scenario.kubectl.run(
                "delete", "namespace", scenario.namespace, "--ignore-not-found", "--wait=true", timeout=180
            )
            run(scenario)
    except (LocalClusterError, ScenarioError, KubectlError, ToolError, *TIMEOUTS) as error:
        print(f"\nThe demo stopped: {error}", file=sys.stderr)
        return 1
    return 0


sys.exit(main())
