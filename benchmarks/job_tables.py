"""The tables of the job that docs/tables.md, cornac_job.py, lenskit_job.py and rectools_job.py do."""

import pandas as pd

pairs = [(user, item) for user in range(30) for item in range(40) if (user + item) % 3 == 0]
orders = pd.DataFrame(pairs, columns=["user_id", "item_id"])
items = pd.DataFrame({"item_id": range(50), "tags": ["tea|green" if i % 3 else None for i in range(50)]})
vectors = {i: [i % 3, i] for i in range(45)}
