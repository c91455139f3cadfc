"""`python -m hack.demo [tell|clean]`."""

import argparse
import subprocess
import sys

from hack.demo.story import Story, StoryError
from hack.tools.kubectl import KubectlError
from hack.tools.pypi import ToolError


def tell(story: Story) -> None:
    """Tell the whole loop."""
    story.install()
    story.apply_quickstart()
    story.first_version()
    story.predict()
    story.start_traffic()
    story.better_version()
    story.slow_version()
    story.drift()
    story.traffic.stop()
    story.end()


def main() -> int:
    """Parse the command line, tell or clean, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m hack.demo", description=sys.modules["hack.demo"].__doc__)
    parser.add_argument("what", nargs="?", choices=("tell", "clean"), default="tell")
    parser.add_argument("--namespace", default="tidemill-demo")
    arguments = parser.parse_args()
    story = Story(namespace=arguments.namespace)
    try:
        if arguments.what == "clean":
            story.clean()
        else:
            story.kubectl.run("delete", "namespace", story.namespace, "--ignore-not-found", "--wait=true", timeout=180)
            tell(story)
    except (StoryError, KubectlError, ToolError, TimeoutError, subprocess.TimeoutExpired) as error:
        print(f"\nThe demo stopped: {error}", file=sys.stderr)
        return 1
    return 0


sys.exit(main())
