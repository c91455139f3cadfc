from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler


def train(data, target, *, strength: float = 1.0, seed: int = 0):
    """data: a DataFrame of features, target: a Series; returns a fitted scikit-learn estimator."""
    columns = ColumnTransformer([("numbers", StandardScaler(), ["tenure"]), ("plan", OneHotEncoder(), ["plan"])])
    return make_pipeline(columns, LogisticRegression(C=strength, random_state=seed)).fit(data, target)
