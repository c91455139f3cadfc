"""The training code that the demo's data scientist writes, one version after the other."""

BETTER = '''"""Second try: a forest sees interactions that a linear model does not."""

from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler


def train(data, target, *, regularization: float = 1.0, seed: int = 0) -> Pipeline:
    model = make_pipeline(StandardScaler(), RandomForestClassifier(n_estimators=60, random_state=seed))
    return model.fit(data, target)
'''

# As good on the holdout, so it passes the gates; but its transformer has no ONNX form, so that scikit-learn
# itself has to walk through thousands of trees for each request.
SLOW = '''"""Third try: many more trees on smoother features. Nobody measured how long one answer takes."""

from sklearn.ensemble import ExtraTreesClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import SplineTransformer


def train(data, target, *, regularization: float = 1.0, seed: int = 0) -> Pipeline:
    model = make_pipeline(
        SplineTransformer(n_knots=3, degree=1), ExtraTreesClassifier(n_estimators=2500, max_depth=6, random_state=seed)
    )
    return model.fit(data, target)
'''
