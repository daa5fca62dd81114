"""What libraries are known to do, by name: the static analysis has nothing else to go by."""

from __future__ import annotations

import sys

ITERATOR = "<iterator>"
RANDOM = "<random>"
MISSING = "<missing>"
"""Marks among the packages: a value that is used up by looking at it, a random generator, a dictionary that makes the
items that one looks for."""
MARKS = frozenset({ITERATOR, RANDOM, MISSING})

LIBRARIES = frozenset(
    """
    numpy pandas scipy sklearn matplotlib seaborn plotly statsmodels torch torchvision tensorflow keras xgboost lightgbm
    catboost polars pyarrow dask nltk spacy gensim transformers datasets tqdm joblib requests httpx yaml PIL cv2 skimage
    networkx sympy altair bokeh shap optuna imblearn mlflow ray IPython ipywidgets sqlalchemy duckdb h5py xarray numba
    """.split()  # noqa: SIM905 - words are easier to read and to extend than a list of quotes
) | frozenset(sys.stdlib_module_names)
"""Packages whose functions leave their arguments as they are, but for ``CHANGE_ARGUMENTS``."""
PLOTTING = frozenset({"matplotlib", "seaborn", "plotly", "altair", "bokeh", "IPython", "ipywidgets"})
CHANGE_ARGUMENTS = frozenset(
    """
    shuffle heappush heappop heapify heapreplace heappushpop insort insort_left insort_right fill_diagonal put place
    copyto putmask setattr delattr next exec update_wrapper fit_resample nuke_refs deque_rotate readinto recv_into
    executemany setitem delitem iadd extend_inplace clip_grad_norm_ clip_grad_value_ dump send anext at
    """.split()  # noqa: SIM905 - as above
)
PURE_METHODS = frozenset(
    """
    head tail describe info copy mean median sum std var min max count nunique unique value_counts
    groupby merge join sort_values sort_index reset_index set_index rename drop dropna fillna astype
    assign query isna notna corr agg apply map transform pivot pivot_table melt sample predict
    predict_proba score get_params to_numpy to_dict tolist items keys values split strip lower upper
    replace format startswith endswith get index plot hist show to_string to_csv to_json to_parquet to_excel to_pickle
    to_html to_markdown idxmax idxmin any all abs round isin between diff shift cumsum quantile encode decode title
    decision_function predict_log_proba get_feature_names_out nlargest nsmallest duplicated drop_duplicates filter
    as_posix exists is_file is_dir read_text read_bytes isoformat strftime most_common read_csv dot
    """.split()  # noqa: SIM905 - as above
)
"""Methods that leave their object as it is, and give another one."""
VIEWS = frozenset(["values", "items", "keys", "get", "to_numpy", "filter", "groupby", "head", "tail", "astype"])
"""Of these, the ones whose result may share what their object holds."""
PURE_FUNCTIONS = frozenset(
    """
    print len sum max min abs round sorted list dict set tuple str int float bool range enumerate
    zip isinstance type repr display any all reversed hash id callable hasattr format issubclass vars dir
    """.split()  # noqa: SIM905 - as above
)
SHALLOW = frozenset(
    [
        "sorted",
        "list",
        "dict",
        "set",
        "tuple",
        "min",
        "max",
        "zip",
        "enumerate",
        "reversed",
        "iter",
        "next",
        "map",
        "filter",
        "getattr",
    ]
)
ITERATORS = frozenset(
    [
        "iter",
        "map",
        "filter",
        "zip",
        "enumerate",
        "reversed",
        "open",
        "reader",
        "DictReader",
        "islice",
        "chain",
        "cycle",
    ]
)
GENERATORS = frozenset({"default_rng", "RandomState", "Random", "Generator", "SystemRandom", "PRNGKey"})
VIEW_FUNCTIONS = frozenset(
    [
        "asarray",
        "ravel",
        "reshape",
        "atleast_1d",
        "atleast_2d",
        "squeeze",
        "transpose",
        "swapaxes",
        "broadcast_to",
        "from_numpy",
        "writer",
        "ref",
        "proxy",
        "as_tensor",
        "array_split",
        "split",
        "frombuffer",
        "partial",
        "iter",
        "chain",
        "islice",
        "wraps",
        "subplots",
        "gca",
        "gcf",
        "nditer",
        "moveaxis",
        "expand_dims",
        "diagonal",
    ]
)
