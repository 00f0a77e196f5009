"""The job of docs/tables.md in RecTools (``pip install 'rectools[lightfm]'``): tables, vectors with gaps, NDCG@10.

LightFM embeds an item as the sum of its features; a number that is missing adds nothing, as a zero does. Features are
part of the data set, which is made again for a new item; its tags have to be those of training.
"""

import numpy as np
import pandas as pd
from job_tables import items, orders, vectors
from lightfm import LightFM
from rectools.dataset import Dataset
from rectools.metrics import NDCG, calc_metrics
from rectools.models import LightFMWrapperModel

# From here on the lines count.
held_out = np.random.default_rng(0).choice(orders["item_id"].unique(), 8, replace=False)
bought = orders.assign(weight=1, datetime="2026-01-01")
is_test = bought["item_id"].isin(held_out)
text = pd.DataFrame([(i, f"text{n}", x) for i, own in vectors.items() for n, x in enumerate(own)])
text = text.set_axis(["id", "feature", "value"], axis=1)


def dataset_of(table):
    tags = table.assign(value=table["tags"].str.split("|"), feature="tags").explode("value").dropna(subset="value")
    features = pd.concat([tags.rename(columns={"item_id": "id"})[["id", "feature", "value"]], text])
    return Dataset.construct(bought[~is_test], item_features_df=features, cat_item_features=["tags"])


dataset = dataset_of(items)
model = LightFMWrapperModel(LightFM(no_components=8, loss="bpr", random_state=0), epochs=5).fit(dataset)
users = orders["user_id"].unique()
lists = model.recommend(users, dataset, k=10, filter_viewed=True, items_to_recommend=held_out)
print(calc_metrics({"ndcg@10": NDCG(10)}, lists, bought[is_test]))
later = dataset_of(pd.concat([items, pd.DataFrame({"item_id": [999], "tags": ["tea"]})]))
print(model.recommend([1], later, k=4, filter_viewed=False, items_to_recommend=[3, 6, int(held_out[0]), 999]))
