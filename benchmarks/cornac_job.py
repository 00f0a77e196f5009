"""The job of docs/tables.md in Cornac (``pip install cornac torch``): tables, vectors with gaps, NDCG@10.

Its VBPR reads one table of numbers, so that tags and vectors stand beside each other, with zeros in the gaps. It scores
items that the split knows; the score of a new one is worked out from the parameters.
"""

import numpy as np
import pandas as pd
from cornac.data import ImageModality
from cornac.eval_methods import BaseMethod
from cornac.metrics import NDCG
from cornac.models import VBPR
from job_tables import items, orders, vectors

# From here on the lines count.
held_out = np.random.default_rng(0).choice(orders["item_id"].unique(), 8, replace=False)
is_test = orders["item_id"].isin(held_out)
train, test = ([(u, i, 1.0) for u, i in part.to_numpy()] for part in (orders[~is_test], orders[is_test]))
tags = items["tags"].str.get_dummies()
text = pd.DataFrame.from_dict(vectors, "index").reindex(items["item_id"]).fillna(0)
images = ImageModality(features=np.hstack([tags, text]), ids=items["item_id"].to_list())
split = BaseMethod.from_splits(train, test, item_image=images, exclude_unknowns=False, seed=0)
model = VBPR(n_epochs=5, seed=0, verbose=False)
print(split.evaluate(model, [NDCG(k=10)], user_based=True)[0])
user, known = split.global_uid_map[1], split.global_iid_map
print({item: model.score(user, known[item]) for item in (3, 6, int(held_out[0]))})
new = np.array([*(tag == "tea" for tag in tags), 0.0, 0.0])
print(model.theta_user[user] @ (new @ model.emb_matrix) + new @ model.beta_prime)
