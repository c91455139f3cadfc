"""The training code that the demo's data scientist writes, one version after the other."""

BETTER = '''"""Second try: a forest sees interactions that a linear model does not."""

from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler


def train(data, target, *, regularization: float = 1.0, seed: int = 0) -> Pipeline:
    model = make_pipeline(StandardScaler(), RandomForestClassifier(n_estimators=60, random_state=seed))
    return model.fit(data, target)
'''

# As good on the holdout, so it passes the gates; but its transformer has no ONNX form, so that scikit-learn itself
# has to ask hundreds of models for each request.
SLOW = '''"""Third try: a large ensemble on kernel features. Nobody measured how long one answer takes."""

from sklearn.ensemble import BaggingClassifier
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler


def train(data, target, *, regularization: float = 1.0, seed: int = 0) -> Pipeline:
    one = make_pipeline(Nystroem(gamma=0.01, n_components=20), LogisticRegression(C=10 * regularization))
    many = BaggingClassifier(one, n_estimators=250, random_state=seed)
    return make_pipeline(StandardScaler(), many).fit(data, target)
'''
