"""What is known of arguments by their names: which ones people vary, of what type they are, what values they take.

Judged by name alone: nothing is imported. A name that is not listed can still become a parameter by other signs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Known:
    """A well-known argument."""

    annotation: str = ""
    """Its type where that is wider than its value's; empty: the value's."""
    weight: float = 3.0
    """How much people want to vary it."""
    minimum: float | None = None
    above: float | None = None
    maximum: float | None = None


def _all(names: str, known: Known) -> dict[str, Known]:
    return dict.fromkeys(names.split(), known)


_COUNT = Known("int", 3.5, minimum=1)
_COUNT_OR_NONE = Known("int | None", 3.0, minimum=1)
_FRACTION = Known("float", 3.2, minimum=0, maximum=1)
_RATE = Known("float", 3.8, minimum=0)

HYPERPARAMETERS: dict[str, Known] = {
    **_all("n_estimators num_boost_round iterations n_rounds num_leaves n_clusters n_init batch_size "
           "num_epochs n_epochs epochs max_epochs hidden_size hidden_dim num_layers embedding_dim n_layers n_trials "
           "num_samples n_samples n_topics num_train_epochs per_device_train_batch_size window window_size horizon "
           "seq_len sequence_length", _COUNT),
    **_all("n_neighbors k_folds n_folds cv n_iter max_iter min_samples_leaf min_child_weight k n_splits n_repeats "
           "min_samples early_stopping_rounds patience min_data_in_leaf max_bin n_bins steps max_steps max_len "
           "max_length num_workers filters units kernel_size", Known("", 2.9)),
    **_all("min_samples_split", Known("int | float", 2.9)),
    **_all("n_components", Known("int | float", 3.5)),
    **_all("max_depth", Known("int | None", 3.9)),
    **_all("max_leaf_nodes", _COUNT_OR_NONE),
    **_all("learning_rate lr eta base_lr learning_rate_init lr0", _RATE),
    **_all("weight_decay momentum l1_ratio reg_alpha reg_lambda tol gamma_init noise sigma temperature eps epsilon "
           "max_samples min_impurity_decrease validation_fraction val_split validation_split val_fraction",
           Known("", 2.8)),
    **_all("dropout dropout_rate subsample colsample_bytree bagging_fraction feature_fraction", _FRACTION),
    **_all("C alpha l2 l1 lambda_", Known("float", 3.4)),
    **_all("gamma", Known("float | str", 3.0)),
    **_all("max_features", Known("int | float | str | None", 2.8)),
    **_all("test_size train_size", Known("int | float", 3.6, above=0)),
    **_all("max_df min_df", Known("int | float", 2.6)),
    **_all("ngram_range degree metric criterion kernel penalty solver activation loss optimizer objective booster "
           "weights class_weight strategy linkage scoring scale_pos_weight method scheduler algorithm", Known("", 2.4)),
    **_all("threshold cutoff min_support quantile percentile top_k top_n contamination nu", Known("", 3.0)),
    **_all("nrows n_rows skiprows chunksize", Known("int | None", 2.6)),
    **_all("sep delimiter encoding sheet_name", Known("", 1.2)),
    **_all("shuffle stratify fit_intercept oob_score bootstrap warm_start early_stopping balanced pretrained",
           Known("", 1.6)),
    **_all("frac n freq periods", Known("", 2.0)),
    **_all("n_jobs num_threads thread_count", Known("int | None", 0.8)),
}  # fmt: skip

SEEDS = _all(
    "random_state seed random_seed rng_seed manual_seed np_seed data_seed split_seed", Known("int | None", 2.6)
)

SEED_CALLS = frozenset(
    {"random.seed", "np.random.seed", "numpy.random.seed", "torch.manual_seed", "torch.cuda.manual_seed",
     "torch.cuda.manual_seed_all", "tf.random.set_seed", "tensorflow.random.set_seed", "np.random.default_rng",
     "numpy.random.default_rng", "np.random.RandomState", "numpy.random.RandomState", "random.Random", "default_rng",
     "set_seed", "seed_everything", "pl.seed_everything", "L.seed_everything", "RandomState", "jax.random.PRNGKey",
     "keras.utils.set_random_seed", "tf.keras.utils.set_random_seed"}
)  # fmt: skip
"""Calls whose first argument is a seed."""

READERS = frozenset(
    {
        "read_csv",
        "read_parquet",
        "read_excel",
        "read_json",
        "read_table",
        "read_feather",
        "read_pickle",
        "read_hdf",
        "read_sql",
        "read_sql_table",
        "read_orc",
        "read_xml",
        "scan_csv",
        "scan_parquet",
        "load_dataset",
        "loadtxt",
        "genfromtxt",
        "load_npz",
        "fromfile",
        "imread",
        "open_dataset",
        "read_file",
        "read_fwf",
    }
)
"""Functions whose first argument is a path that is read, and whose keywords say how."""

PATH_CALLS = READERS | frozenset(
    {"open", "Path", "PurePath", "load", "dump", "save", "to_csv", "to_parquet", "to_json", "to_excel", "to_pickle",
     "to_feather", "savefig", "savetxt", "savez", "connect", "create_engine", "save_model", "load_model", "listdir",
     "glob", "makedirs", "mkdir", "write_csv", "write_parquet", "ImageFolder", "from_pretrained", "loadmat"}
)  # fmt: skip
"""Functions whose first text argument names a file, folder or model."""

SPLITS = frozenset(
    {"train_test_split", "KFold", "StratifiedKFold", "ShuffleSplit", "TimeSeriesSplit", "GroupKFold",
     "StratifiedShuffleSplit", "RepeatedKFold", "random_split", "cross_val_score", "cross_validate"}
)  # fmt: skip

FIRST_ARGUMENT: dict[str, str] = {
    "KMeans": "n_clusters", "PCA": "n_components", "Ridge": "alpha", "Lasso": "alpha", "ElasticNet": "alpha",
    "Dropout": "dropout", "KNeighborsClassifier": "n_neighbors", "KNeighborsRegressor": "n_neighbors",
    "KFold": "n_splits", "StratifiedKFold": "n_splits", "TimeSeriesSplit": "n_splits", "RandomForestClassifier":
    "n_estimators", "RandomForestRegressor": "n_estimators", "TruncatedSVD": "n_components", "NMF": "n_components",
    "PolynomialFeatures": "degree", "SelectKBest": "k", "GaussianMixture": "n_components",
}  # fmt: skip
"""Name of the first argument where it is often given by position."""

DISPLAY_MODULES = frozenset(
    {"plt", "sns", "px", "go", "ax", "axes", "fig", "figure", "alt", "matplotlib", "seaborn",
     "mpl", "pyplot", "axs", "bokeh", "hv", "warnings", "logging", "display", "ax1", "ax2"}
)  # fmt: skip
DISPLAY_CALLS = frozenset(
    {"print", "plot", "hist", "scatter", "bar", "barh", "imshow", "figure", "subplots", "subplots_adjust", "legend",
     "title", "xlabel", "ylabel", "set_title", "heatmap", "style", "set_option", "display", "tqdm", "trange", "boxplot",
     "savefig", "tight_layout", "annotate", "text", "basicConfig", "filterwarnings", "head", "tail", "info", "describe",
     "to_string", "to_html", "to_markdown", "ArgumentParser", "add_argument", "super", "isinstance", "getattr",
     "format", "join", "round", "pprint", "set_context", "set_theme", "plot_tree", "ConfusionMatrixDisplay"}
)  # fmt: skip
"""Calls that show things or plumb: their literals are seldom what a person varies."""

PLUMBING = frozenset(
    {"axis", "indent", "inplace",
     "index", "dtype", "verbose", "end", "ddof", "ascending", "drop", "how", "on", "by", "columns",
     "ignore_index", "copy", "figsize", "color", "cmap", "label", "title", "xlabel", "ylabel", "alpha_", "keepdims",
     "exist_ok", "parents", "default", "key", "reverse", "mode", "newline", "flush", "file", "header", "names",
     "usecols", "parse_dates", "index_col", "errors", "deep", "left_on", "right_on", "suffixes", "orient", "level",
     "numeric_only", "regex", "expand", "return_train_score", "average", "zero_division", "labels", "output_dict",
     "handle_unknown", "sparse_output", "sparse", "remainder", "with_mean", "dim", "requires_grad", "device",
     "return_counts", "return_X_y", "as_frame", "squeeze", "dropna", "normalize", "name", "id", "help", "type"}
)  # fmt: skip
"""Arguments that say how code is written, not what it computes."""

CONFIG_WORDS = frozenset(
    {"config", "cfg", "conf", "params", "param", "hparams", "hyperparams", "hyperparameters", "hp", "settings", "args",
     "options", "opts", "kwargs", "parameters", "space", "grid", "defaults", "setup", "opt"}
)  # fmt: skip
"""Words in the name of a dict that holds settings."""


def known_argument(name: str) -> Known | None:
    """What is known of an argument of this name."""
    return SEEDS.get(name) or HYPERPARAMETERS.get(name)


def limits(name: str, value: Any) -> dict[str, Any]:
    """JSON Schema's limits for values of a well-known argument; none where its own default does not keep them."""
    known = known_argument(name)
    if known is None:
        return {}
    numbers = value if isinstance(value, list | tuple) else [value]
    if not all(isinstance(n, int | float) and not isinstance(n, bool) for n in numbers if n is not None):
        return {}
    given = [n for n in numbers if n is not None]
    found: dict[str, Any] = {}
    if known.minimum is not None and all(n >= known.minimum for n in given):
        found["minimum"] = known.minimum
    if known.above is not None and all(n > known.above for n in given):
        found["exclusiveMinimum"] = known.above
    if known.maximum is not None and all(n <= known.maximum for n in given):
        found["maximum"] = known.maximum
    return found
