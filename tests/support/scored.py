"""Batch prediction in tests: data with every kind of column, the command as a process, one row asked online."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import parquet as pq
from tests.support import packages, versions
from tests.support.versions import Published

from tidemill_contracts.artifact import ColumnSpec, Signature
from tidemill_contracts.inference import SERVER_CONFIG_ENV

BIG = 2**53


def every_kind(store: Path, *, handle_unknown: str = "ignore") -> Published:
    """Publish a native pipeline on a number, a whole number beyond 2^53 that matters, a boolean and a category."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder
    from sklearn.tree import DecisionTreeClassifier

    rng = np.random.default_rng(5)
    rows = 240
    frame = pd.DataFrame(
        {
            "betrag": rng.normal(size=rows),
            "konto": BIG + rng.integers(0, 4, size=rows),
            "aktiv": rng.integers(0, 2, size=rows).astype(bool),
            "farbe": pd.Series(rng.choice(versions.COLORS, size=rows), dtype="str"),
        }
    )
    odd = frame["konto"] % 2 == 1  # a double cannot tell these from their neighbours
    target = np.where(odd ^ frame["aktiv"], "ja", np.where(frame["farbe"] == "rot", "nein", "vielleicht"))
    steps = ColumnTransformer(
        [
            ("amount", SimpleImputer(), ["betrag"]),
            ("account", OneHotEncoder(handle_unknown="ignore"), ["konto"]),
            ("active", "passthrough", ["aktiv"]),
            ("color", OneHotEncoder(handle_unknown=handle_unknown), ["farbe"]),
        ]
    )
    model = Pipeline([("columns", steps), ("model", DecisionTreeClassifier(random_state=0))]).fit(frame, target)
    inputs = (
        ColumnSpec(name="betrag", datatype="FP64"),
        ColumnSpec(name="konto", datatype="INT64"),
        ColumnSpec(name="aktiv", datatype="BOOL"),
        ColumnSpec(name="farbe", datatype="BYTES", categories=versions.COLORS),
    )
    outputs = (
        ColumnSpec(name="label", datatype="BYTES"),
        ColumnSpec(name="probabilities", datatype="FP64", shape=(-1, 3)),
    )
    return versions.write(store, model, frame, Signature(inputs=inputs, outputs=outputs), None)


def rows_of_every_kind(rows: int = 97) -> pa.Table:
    """Return rows for `every_kind`: gaps where the model takes them, big whole numbers, a dictionary, a column more."""
    rng = np.random.default_rng(7)
    amounts = [None if i % 9 == 4 else float(v) for i, v in enumerate(rng.normal(size=rows))]
    accounts = [None if i % 11 == 3 else BIG + int(v) for i, v in enumerate(rng.integers(0, 5, size=rows))]
    colors = [None if i % 17 == 5 else c for i, c in enumerate(rng.choice((*versions.COLORS, "lila"), size=rows))]
    return pa.table(
        {
            "kunde": pa.array([f"k-{i}" for i in range(rows)]),
            "farbe": pa.array(colors).dictionary_encode(),
            "aktiv": pa.array(rng.integers(0, 2, size=rows).astype(bool)),
            "konto": pa.array(accounts, pa.int64()),
            "betrag": pa.array(amounts, pa.float64()),
        }
    )


def online(url: str, table: pa.Table, names: list[str], row: int) -> dict[str, Any]:
    """Ask for one row by V2, one tensor for each column; return its label and probabilities, or the error."""
    datatypes = {"bool": "BOOL", "int64": "INT64", "double": "FP64"}
    tensors = []
    for name in names:
        kind = str(table.schema.field(name).type)
        value = table.column(name)[row].as_py()
        datatype = datatypes.get(kind, "BYTES")
        tensors.append({"name": name, "shape": [1], "datatype": datatype, "data": [value]})
    body = json.dumps({"inputs": tensors}).encode()
    request = urllib.request.Request(f"{url}/v2/models/demo/infer", body, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            outputs = json.loads(reply.read())["outputs"]
    except urllib.error.HTTPError as error:
        with error:
            return {"error": json.loads(error.read())["error"]}
    return {"label": outputs[0]["data"][0], "probabilities": outputs[1]["data"]}


@dataclass(frozen=True)
class Run:
    """How the command ended."""

    code: int
    message: str  # for the kubelet
    log: str


def command(folder: Path, published: Published | None, *arguments: str, **environment: str) -> Run:
    """Score a data set as a Job would and return how it ended."""
    process = start(folder, published, *arguments, **environment)
    _, log = process.communicate(timeout=120)
    message = folder / "termination-log"
    return Run(process.returncode, message.read_text() if message.exists() else "", log)


def start(folder: Path, published: Published | None, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
    """Start the command with the packages of its image; its standard error can be read from the process."""
    folder.mkdir(parents=True, exist_ok=True)
    scratch = folder / "tmp"
    scratch.mkdir(exist_ok=True)
    (folder / "termination-log").unlink(missing_ok=True)
    variables = {**os.environ, **packages.as_in_image("trainer"), "TMPDIR": str(scratch)}
    variables["TIDEMILL_TERMINATION_LOG"] = str(folder / "termination-log")
    if published is not None:
        variables[SERVER_CONFIG_ENV] = published.config().to_json()
    line = [sys.executable, "-m", "tidemill_runtime.batch", *arguments]
    return subprocess.Popen(line, env={**variables, **environment}, stderr=subprocess.PIPE, text=True)


def write(path: Path, table: pa.Table, row_group_size: int = 20) -> str:
    """Write a table in small row groups and return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=row_group_size)
    return str(path)
