"""Training code as data scientists write it, good and bad, for tests of every layer."""

LOGISTIC = """
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def train(data, target, *, C: float = 1.0, seed: int = 0):
    return make_pipeline(StandardScaler(), LogisticRegression(C=C, random_state=seed)).fit(data, target)
"""

TREE = """
from sklearn.tree import DecisionTreeClassifier


def train(data, target, *, max_depth: int = 3, seed: int = 0):
    return DecisionTreeClassifier(max_depth=max_depth, random_state=seed).fit(data, target)
"""

LINEAR = """
from sklearn.linear_model import LinearRegression


def train(data, target):
    return LinearRegression().fit(data, target)
"""

# Text and numbers with gaps, the shape of most business tables.
MIXED = """
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler


def train(data, target, *, seed: int = 0):
    features = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), make_column_selector(dtype_include="number")),
        (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_exclude="number")),
    )
    return make_pipeline(features, LogisticRegression(random_state=seed)).fit(data, target)
"""

WITH_EVALUATE = (
    TREE
    + """

def evaluate(model, data, target):
    return {"cost": float((model.predict(data) != target).sum()) * 10, "undefined": float("nan")}
"""
)

CLUSTERS = """
from sklearn.cluster import KMeans


def train(data, target, *, seed: int = 0):
    assert target is None
    return KMeans(n_clusters=3, n_init=1, random_state=seed).fit(data)


def evaluate(model, data, target):
    return {"inertia": -model.score(data)}
"""

# Two inputs, joined by what `features` says.
JOINED = """
from sklearn.linear_model import LogisticRegression


def features(data):
    joined = data["orders"].merge(data["customers"], on="customer", how="left")
    return joined[["amount", "age"]]


def train(data, target):
    return LogisticRegression().fit(features(data), target)
"""

SYNTAX_ERROR = "def train(data, target)\n    return None\n"
IMPORT_ERROR = "import not_a_package_anywhere\n\n\ndef train(data, target):\n    return None\n"
NO_FUNCTION = "def fit(data, target):\n    return None\n"
RAISES = """
def helper(data):
    return data["no such column"]


def train(data, target):
    return helper(data)
"""
RAISES_AT_IMPORT = "value = 1 / 0\n\n\ndef train(data, target):\n    return value\n"
EXITS = "import sys\n\n\ndef train(data, target):\n    sys.exit(3)\n"
NO_ESTIMATOR = "def train(data, target):\n    return {'model': 1}\n"
CLASS_NOT_INSTANCE = "from sklearn.svm import SVC\n\n\ndef train(data, target):\n    return SVC\n"
NOT_FITTED = "from sklearn.svm import SVC\n\n\ndef train(data, target):\n    return SVC()\n"
OUT_OF_MEMORY = "def train(data, target):\n    raise MemoryError('no room for 9 GiB')\n"
HANGS = "import time\n\n\ndef train(data, target):\n    print('hanging', flush=True)\n    time.sleep(600)\n"
LAMBDA = """
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer


def train(data, target):
    doubled = FunctionTransformer(lambda rows: rows * 2)
    return make_pipeline(doubled, LogisticRegression(max_iter=1000)).fit(data, target)
"""
BAD_METRICS = TREE + "\n\ndef evaluate(model, data, target):\n    return {'accuracy': 'good'}\n"

# Programs: any language would do, these are Python without our packages.
PROGRAM_SKOPS = """
import json, os
from pathlib import Path
import pandas as pd
import skops.io
from sklearn.tree import DecisionTreeClassifier

inputs, outputs = Path(os.environ["TIDEMILL_INPUT_DIR"]), Path(os.environ["TIDEMILL_OUTPUT_DIR"])
config = json.loads((inputs / "config.json").read_text())
table = pd.read_parquet(inputs / "train.parquet")
target = table.pop(config["target"])
depth = int(config["parameters"]["depth"])
model = DecisionTreeClassifier(max_depth=depth, random_state=config["seed"]).fit(table, target)
skops.io.dump(model, outputs / "model.skops")
(outputs / "metrics.json").write_text(json.dumps({"rows": len(pd.read_csv(inputs / "holdout.csv"))}))
print("trained on", len(table))
"""
PROGRAM_OTHER = """
import json, os
from pathlib import Path

outputs = Path(os.environ["TIDEMILL_OUTPUT_DIR"])
(outputs / "model.bin").write_bytes(b"weights")
(outputs / "vocabulary.txt").write_text("a b c")
(outputs / "metrics.json").write_text(json.dumps({"accuracy": 0.75}))
"""
PROGRAM_FAILS = "import sys\nprint('about to fail')\nsys.exit('disk of the dongle is missing')\n"
PROGRAM_NO_MODEL = "print('forgot to save')\n"
NO_CONVERTER = """
from sklearn.dummy import DummyClassifier


def train(data, target):
    return DummyClassifier().fit(data, target)
"""
