"""Which types a native archive may construct beyond those that skops trusts by itself.

Found by fitting every estimator of the pinned scikit-learn and asking skops what it does not know;
each is a class without side effects, a scoring function or a numpy function that a transformer holds.
Anything else is refused: an archive is data. Standard library only, so that the side that writes
archives can ask the same question.
"""

_TYPES = frozenset(
    {
        "numpy.dtype",
        "scipy._lib.array_api_compat.numpy._aliases.asarray",
        "scipy.interpolate._bsplines.BSpline",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.calibration._TemperatureScaling",
        "sklearn.cluster._bisect_k_means._BisectingTree",
        "sklearn.cluster._kmeans._kmeans_single_elkan",
        "sklearn.cluster._kmeans._kmeans_single_lloyd",
        "sklearn.compose._column_transformer._RemainderColsList",
        "sklearn.compose._column_transformer.make_column_selector",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
        "sklearn.model_selection._search_successive_halving.HalvingGridSearchCV",
        "sklearn.model_selection._search_successive_halving.HalvingRandomSearchCV",
        "sklearn.multiclass._ConstantPredictor",
        "sklearn.neighbors._ball_tree.BallTree",
        "sklearn.neighbors._kd_tree.KDTree",
        "sklearn.tree._tree.Tree",
        "sklearn.utils._bunch.Bunch",
        "sklearn.utils._metadata_requests.MetadataRequest",
        "sklearn.utils._metadata_requests.MethodMetadataRequest",
    }
)
# Modules in which everything is harmless to construct.
_MODULES = (
    "scipy.sparse.",
    "sklearn._loss.",
    "sklearn.feature_selection._mutual_info.",
    "sklearn.feature_selection._univariate_selection.",
    "sklearn.gaussian_process.kernels.",
    "sklearn.metrics._classification.",
    "sklearn.metrics._dist_metrics.",
    "sklearn.metrics._ranking.",
    "sklearn.metrics._regression.",
    "sklearn.metrics._scorer.",
    "sklearn.model_selection._split.",
    "sklearn.neural_network._stochastic_optimizers.",
)
_NUMPY_FUNCTIONS = frozenset(
    {"abs", "absolute", "cbrt", "clip", "cos", "exp", "exp2", "expm1", "log", "log10", "log1p", "log2", "max", "mean"}
    | {"median", "min", "nan_to_num", "reciprocal", "round", "sign", "sin", "sqrt", "square", "std", "sum", "tan"}
    | {"tanh"}
)


def is_vetted(name: str) -> bool:
    """Return whether a fitted scikit-learn estimator may hold this type, given by its qualified name."""
    module, _, short = name.rpartition(".")
    return name in _TYPES or name.startswith(_MODULES) or (module == "numpy" and short in _NUMPY_FUNCTIONS)
