# ruff: noqa: E501 - cells as people write them
"""How many of the parameters that a person would want are found: realistic cells, judged by hand."""

from __future__ import annotations

from mlops_jupyter.notebook.candidates import choose, find_candidates

RECALL_FLOOR = 0.97
"""Of the wanted ones, how many are offered at all."""
CHOSEN_FLOOR = 0.95
"""Of the wanted ones (at most eight a notebook), how many are among the eight that are chosen by default."""
PRECISION_FLOOR = 0.9
"""Of those chosen by default, how many are wanted."""

# (cells of one notebook, the literals that a person would list, by the words at their place)
NOTEBOOKS: list[tuple[list[str], set[str]]] = [
    (["import pandas as pd\ndf = pd.read_csv('data/train.csv')", "X = df.drop(columns=['y'])\ny = df['y']",
      "from sklearn.model_selection import train_test_split\nXa, Xb, ya, yb = train_test_split(X, y, test_size=0.2, random_state=42)",
      "from sklearn.ensemble import RandomForestClassifier\nrf = RandomForestClassifier(n_estimators=200, max_depth=5, random_state=42)\nrf.fit(Xa, ya)",
      "rf.score(Xb, yb)"],
     {"'data/train.csv'", "0.2", "42", "200", "5"}),
    (["lr = 0.01\nepochs = 10\nbatch_size = 64", "net = make()\nopt = torch.optim.Adam(net.parameters(), lr=lr)",
      "for epoch in range(epochs):\n    for xb, yb in loader:\n        opt.zero_grad()\n        loss = crit(net(xb), yb)\n        loss.backward()\n        opt.step()\n    print(epoch, loss.item())"],
     {"0.01", "10", "64"}),
    (["import torch\nfrom torch import nn\ntorch.manual_seed(0)",
      "model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 2))",
      "optimizer = torch.optim.SGD(model.parameters(), lr=1e-2, momentum=0.9, weight_decay=1e-4)",
      "for epoch in range(50):\n    train(model)\nplt.plot(losses, color='r', linewidth=2)\nplt.title('loss')"],
     {"0", "0.5", "1e-2", "0.9", "1e-4", "50"}),
    (["import xgboost as xgb\nparams = {'max_depth': 6, 'eta': 0.3, 'objective': 'binary:logistic', 'subsample': 0.8}",
      "dtrain = xgb.DMatrix(X, label=y)\nbst = xgb.train(params, dtrain, num_boost_round=100, early_stopping_rounds=10)"],
     {"6", "0.3", "'binary:logistic'", "0.8", "100", "10"}),
    (["from sklearn.model_selection import GridSearchCV\nparam_grid = {'C': [0.1, 1, 10], 'gamma': ['scale', 0.1]}\n"
      "search = GridSearchCV(SVC(kernel='rbf'), param_grid, cv=5, scoring='f1', n_jobs=-1)\nsearch.fit(X, y)"],
     {"{'C': [0.1, 1, 10], 'gamma': ['scale', 0.1]}", "'rbf'", "5", "'f1'"}),
    (["km = KMeans(n_clusters=8, n_init=10, random_state=0).fit(X)", "plt.scatter(X[:, 0], X[:, 1], c=km.labels_, s=5, alpha=0.3)"],
     {"8", "10", "0"}),
    (["DATA_DIR = '../data'\nSEED = 1234\nTARGET = 'price'", "np.random.seed(SEED)\ndf = pd.read_parquet(f'{DATA_DIR}/houses.parquet')",
      "y = df[TARGET]\nmodel = Ridge(alpha=1.0)\nmodel.fit(df.drop(columns=TARGET), y)"],
     {"'../data'", "1234", "'price'", "1.0"}),
    (["threshold = 0.5  # above it counts as positive\npred = (proba > threshold).astype(int)\nprint(f1_score(y, pred, average='macro'))"], {"0.5"}),
    (["from sklearn.feature_extraction.text import TfidfVectorizer\nvec = TfidfVectorizer(max_features=5000, ngram_range=(1, 2), min_df=2, stop_words='english')",
      "clf = LogisticRegression(C=1.0, max_iter=1000, penalty='l2')\nclf.fit(vec.fit_transform(texts), labels)"],
     {"5000", "(1, 2)", "2", "'english'", "1.0", "1000", "'l2'"}),
    (["%matplotlib inline\nimport matplotlib.pyplot as plt\nfig, ax = plt.subplots(1, 2, figsize=(12, 4), dpi=120)\nax[0].hist(x, bins=50, alpha=0.5)\nax[0].set_xlabel('x')"], set()),
    (["n_splits = 5\nkf = StratifiedKFold(n_splits=n_splits, shuffle=True, random_state=7)\nscores = cross_val_score(model, X, y, cv=kf, scoring='roc_auc')"],
     {"5", "7", "'roc_auc'"}),
    (["cfg = dict(lr=3e-4, batch_size=32, epochs=5, dropout=0.1)", "model = Net(dropout=cfg['dropout'])\nloader = DataLoader(ds, batch_size=cfg['batch_size'], shuffle=True)"],
     {"3e-4", "32", "5", "0.1"}),
    (["window = 7\nhorizon = 14\ndf['ma'] = df.sales.rolling(window).mean()", "model = ARIMA(df.sales, order=(2, 1, 1)).fit()\nfc = model.forecast(steps=horizon)"],
     {"7", "14", "(2, 1, 1)"}),
    (["def build(hidden=64, dropout=0.2):\n    return nn.Sequential(nn.Linear(10, hidden), nn.Dropout(dropout))\nnet = build(hidden=128)"],
     {"0.2", "128"}),
    (["start_date = '2024-01-01'\nend_date = '2024-06-30'\ncountry = 'DE'", "df = load(start_date, end_date)\ndf = df[df.country == country]"],
     {"'2024-01-01'", "'2024-06-30'", "'DE'"}),
    (["import lightgbm as lgb\nmodel = lgb.LGBMRegressor(num_leaves=31, learning_rate=0.05, n_estimators=500, feature_fraction=0.9, verbose=-1)\nmodel.fit(X, y)"],
     {"31", "0.05", "500", "0.9"}),
    (["pipe = Pipeline([('scale', StandardScaler()), ('pca', PCA(n_components=10)), ('clf', SVC(C=10, gamma=0.01))])\npipe.fit(X, y)"],
     {"10", "0.01"}),
    (["df = pd.read_csv('https://example.org/data.csv', sep=';', nrows=1000)\ndf = df.dropna(axis=0, how='any').reset_index(drop=True)"],
     {"'https://example.org/data.csv'", "';'", "1000"}),
    (["sample = df.sample(frac=0.1, random_state=1)\nsample.head(10)"], {"0.1", "1"}),
    (["model_name = 'distilbert-base-uncased'\nmax_length = 128", "args = TrainingArguments('out', num_train_epochs=3, per_device_train_batch_size=16, learning_rate=2e-5, weight_decay=0.01, logging_steps=50)"],
     {"'distilbert-base-uncased'", "128", "3", "16", "2e-5", "0.01"}),
    (["count = 0\ntotal = 0.0\nfor row in rows:\n    count += 1\n    total += row.x\nprint(count, total / count)"], set()),
    (["top_k = 20\nimportances.sort_values(ascending=False).head(top_k).plot.barh(color='teal')"], {"20"}),
    (["dbscan = DBSCAN(eps=0.3, min_samples=5)\nlabels = dbscan.fit_predict(X)", "tsne = TSNE(n_components=2, perplexity=30, random_state=3)"],
     {"0.3", "5", "2", "30", "3"}),
    (["USE_GPU = False\nNUM_WORKERS = 4\nIMG_SIZE = 224", "tf = transforms.Compose([transforms.Resize(IMG_SIZE), transforms.ToTensor()])"],
     {"False", "4", "224"}),
    (["names = {'a': 'Alpha', 'b': 'Beta'}\ndf = df.rename(columns={'x1': 'age', 'x2': 'height'})\ndf['k'] = df.k.map(names)"], set()),
    (["early = EarlyStopping(monitor='val_loss', patience=5)\nmodel.compile(optimizer='adam', loss='mse', metrics=['mae'])\nmodel.fit(X, y, epochs=40, batch_size=128, validation_split=0.2, callbacks=[early], verbose=0)"],
     {"5", "'adam'", "'mse'", "40", "128", "0.2"}),
    (["%%time\niso = IsolationForest(contamination=0.02, n_estimators=150, random_state=11)\nout = iso.fit_predict(X)"], {"0.02", "150", "11"}),
    (["hp: dict = {'hidden': [64, 32], 'lr': 0.001}\nmodel = MLPRegressor(hidden_layer_sizes=(100, 50), alpha=1e-4, max_iter=300)"],
     {"[64, 32]", "0.001", "(100, 50)", "1e-4", "300"}),
    (["rng = np.random.default_rng(2024)\nX = rng.normal(size=(500, 4))\nnoise = 0.1\ny = X @ w + noise * rng.normal(size=500)"], {"2024", "0.1"}),
    (["out_path = 'results/scores.json'\nwith open(out_path, 'w') as f:\n    json.dump(scores, f, indent=2)"], {"'results/scores.json'"}),
    (["study = optuna.create_study(direction='maximize')\nstudy.optimize(objective, n_trials=50, timeout=600)"], {"'maximize'", "50", "600"}),
    (["query = '''select *\nfrom t\nwhere x > 3'''\ndf = pd.read_sql(query, con)\nlimit = 100000"], {"100000"}),
]  # fmt: skip


def measured() -> tuple[float, float, float, list[str]]:
    """(recall of what is offered, recall of the default choice, its precision, what went wrong)."""
    wanted_all = offered_all = chosen_wanted = chosen_all = reachable = 0
    wrong: list[str] = []
    for number, (cells, wanted) in enumerate(NOTEBOOKS):
        candidates = find_candidates(cells)
        offered = {c.default_source for c in candidates}
        chosen = [c.default_source for c in choose(candidates)]
        wanted_all += len(wanted)
        offered_all += len(wanted & offered)
        chosen_wanted += len(wanted & set(chosen))
        chosen_all += len(chosen)
        reachable += min(8, len(wanted))
        missed, extra = sorted(wanted - set(chosen)), sorted(set(chosen) - wanted)
        if missed or extra:
            wrong.append(f"{number}: missed {missed}, chosen besides {extra}")
    return offered_all / wanted_all, chosen_wanted / reachable, chosen_wanted / chosen_all, wrong


def test_recall_and_precision() -> None:
    offered, chosen, precision, wrong = measured()
    print(f"\noffered {offered:.2f}  chosen {chosen:.2f}  precision {precision:.2f}  in {len(NOTEBOOKS)} notebooks")
    print(*wrong, sep="\n")
    assert offered >= RECALL_FLOOR
    assert chosen >= CHOSEN_FLOOR
    assert precision >= PRECISION_FLOOR
