"""No file imports itself, however long the way around; .importlinter does not look at a package's own `__init__`."""

import graphlib

import grimp
import pytest


def test_there_is_no_circle_of_imports() -> None:
    graph = grimp.build_graph("tidemill", "tidemill_contracts", "tidemill_runtime", "hack", cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert imports["hack.localcluster.choice"] >= {"hack.localcluster.kind", "hack.localcluster.external"}

    try:
        graphlib.TopologicalSorter(imports).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"a circle: {' imports '.join(reversed(error.args[1]))}")
