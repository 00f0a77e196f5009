"""What RecBole takes from numpy, pandas, scipy and hyperopt and newer ones have no longer; nothing changes with older
ones."""

import warnings
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any

from recbole_sibrar.recbole_plugin.patches.replaced import replace

TOUCH_POINTS = {
    "recbole.config.configurator:Config.compatibility_settings": ("5030d75b2f92", "replaced: names that numpy 2 has not"),
    "recbole.data.dataset.dataset:Dataset._fill_nan": ("b156de9924b8", "replaced: fillna(inplace=True) does nothing in pandas 3"),
    "recbole.data.dataset.dataset:Dataset._remap": ("51fd4947aa82", "its agg(len) is mended for pandas 3 by a len of its module"),
    "recbole.trainer.hyper_tuning:exhaustive_search": ("d3b704057d16", "its RandomState is mended for hyperopt 0.2.7 by a numpy of its module"),
}  # fmt: skip


# What newer packages say of RecBole's own code.
WARNINGS = (
    "A value is trying to be set on a copy",  # pandas 2
    "A value is being set on a copy",  # pandas 3; see ``apply``
    "using .* in Series.agg cannot aggregate",  # pandas 2, of ``_remap``
    "The given NumPy array is not writable",  # pandas 3 lends its columns for reading
    "`torch.cuda.amp.GradScaler",
)


def apply() -> None:
    for message in WARNINGS:
        warnings.filterwarnings("ignore", message)
    _mend()


def _mend() -> None:
    import numpy as np
    import pandas as pd
    from recbole.config import Config
    from recbole.data.dataset import dataset as module
    from recbole.trainer import hyper_tuning
    from recbole.utils import FeatureType
    from scipy.sparse import dok_matrix

    names = {"bool": np.bool_, "int": np.int_, "float": np.float64, "complex": np.complex128, "object": np.object_}
    names |= {"str": np.str_, "long": np.int_, "unicode": np.str_}

    def compatibility_settings(self: Config) -> None:
        for name, value in names.items():
            setattr(np, name, value)

    def read_csv(*args: Any, **kwargs: Any) -> pd.DataFrame:
        frame = pd.read_csv(*args, **kwargs)
        for column in frame.columns[frame.columns.astype(str).str.endswith("_seq")]:
            frame[column] = frame[column].fillna("")
        return frame

    def length(values: Any) -> object:
        """Of each entry in ``series.agg(len)``, for which pandas 3 hands over the whole series."""
        each = isinstance(values, pd.Series) and len(values) > 0 and isinstance(values.iloc[0], np.ndarray)
        return values.map(len) if each else len(values)

    class RandomState(np.random.RandomState):
        integers = np.random.RandomState.randint

    fill_sequences = module.Dataset._fill_nan

    def fill_nan(self: module.Dataset) -> None:
        for feat in (getattr(self, name) for name in self.feat_name_list):
            for field in feat:
                if self.field2type[field] == FeatureType.TOKEN:
                    feat[field] = feat[field].fillna(0)
                elif self.field2type[field] == FeatureType.FLOAT:
                    feat[field] = feat[field].fillna(feat[field].mean())
        fill_sequences(self)

    where = "recbole.config.configurator:Config.compatibility_settings"
    replace(Config, "compatibility_settings", compatibility_settings, where)
    replace(module.Dataset, "_fill_nan", fill_nan, "recbole.data.dataset.dataset:Dataset._fill_nan")
    module.pd = ModuleType("pandas", "pandas with a read_csv that leaves no sequence missing")
    module.pd.__dict__.update({**vars(pd), "read_csv": read_csv})
    module.len = length
    hyper_tuning.np = ModuleType("numpy", "numpy with a RandomState that draws what a Generator does")
    random = SimpleNamespace(RandomState=RandomState)
    hyper_tuning.np.__dict__.update(random=random, __getattr__=partial(getattr, np))
    if not hasattr(dok_matrix, "_update"):
        dok_matrix._update = lambda self, entries: self._dict.update(entries)
