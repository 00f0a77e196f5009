"""The job of docs/tables.md in LensKit (``pip install lenskit``): tables, vectors with gaps, held-out items, NDCG@10.

Its scorers read no attributes, so that items without interactions are scored by nothing: 0, and NaN for a new one.
"""

import numpy as np
from job_tables import items, orders, vectors
from lenskit.als import ImplicitMFScorer
from lenskit.batch import recommend
from lenskit.data import DatasetBuilder, ItemList, ItemListCollection, UserIDKey
from lenskit.metrics import NDCG, RunAnalysis
from lenskit.pipeline import topn_pipeline

# From here on the lines count.
held_out = np.random.default_rng(0).choice(orders["item_id"].unique(), 8, replace=False)
is_test = orders["item_id"].isin(held_out)
builder = DatasetBuilder("shop")
builder.add_entities("user", orders["user_id"].unique())
builder.add_entities("item", items["item_id"].to_numpy())
tagged = items.dropna(subset="tags")
builder.add_list_attribute("item", "tags", tagged["item_id"].to_numpy(), tagged["tags"].str.split("|").tolist())
builder.add_vector_attribute("item", "text", list(vectors), np.array(list(vectors.values()), dtype="float32"))
builder.add_interactions("buy", orders[~is_test], entities=["user", "item"])
pipeline = topn_pipeline(ImplicitMFScorer(embedding_size=8, epochs=5), n=10)
pipeline.train(builder.build())
test = ItemListCollection.from_df(orders[is_test], key=UserIDKey)
analysis = RunAnalysis()
analysis.add_metric(NDCG(n=10))
print(analysis.measure(recommend(pipeline, test, n=10, n_jobs=1), test).list_summary())
print(pipeline.run("scorer", query=1, items=ItemList([3, 6, int(held_out[0]), 999])).to_df())
