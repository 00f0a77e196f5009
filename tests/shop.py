"""A shop in which most products were never bought: what a person has who starts from tables."""

from pathlib import Path

import numpy as np
import pandas as pd


class Shop:
    """40 buyers like one of two departments each; 24 of 60 products were ever bought, and every table has gaps.

    Products of even number are of the department "tea", the others of "tools": by tag and by vector. Buyers of even
    number buy tea. So the known answer is: buyer ``b2`` gets tea, bought before or not.
    """

    n_buyers, n_products, n_bought = 40, 60, 24

    def __init__(self):
        rng = np.random.default_rng(0)
        pairs = []
        for buyer in range(self.n_buyers):
            own = [product for product in range(self.n_bought) if product % 2 == buyer % 2]
            pairs += [(f"b{buyer}", f"p{product}") for product in rng.choice(own, 6, replace=False)]
        self.orders = pd.DataFrame(pairs, columns=["buyer", "sku"])
        self.orders["stars"] = rng.integers(3, 6, len(pairs))
        numbers = range(self.n_products)
        self.products = pd.DataFrame(
            {
                "sku": [f"p{n}" for n in numbers],
                "tags": [None if n % 7 == 0 else ["green tea|drink", "power tools|metal"][n % 2] for n in numbers],
                "price": [None if n % 5 == 0 else 1.5 * n for n in numbers],
                "since": [None if n % 4 == 0 else 1990 + n for n in numbers],
                "title": [f"The thing called {n}" for n in numbers],
            }
        )
        self.buyers = pd.DataFrame({"buyer": [f"b{n}" for n in range(self.n_buyers + 3)], "city": "A"})
        self.buyers.loc[::3, "city"] = "B"
        self.text = np.stack([[1.0 - 2 * (n % 2), 0.5, n / 60] for n in numbers]).astype("float32")
        self.text[3] = np.nan

    columns = {"user_column": "buyer", "item_column": "sku"}

    def write(self, folder="."):
        """The tables as files, and the arguments of ``convert table`` that read them."""
        folder = Path(folder)
        self.orders.to_csv(folder / "orders.csv", index=False)
        self.products.to_csv(folder / "products.csv", index=False)
        self.buyers.to_csv(folder / "buyers.csv", index=False)
        has = ~np.isnan(self.text).any(axis=1)
        np.savez(folder / "text.npz", ids=self.products["sku"][has].to_numpy(str), values=self.text[has])
        arguments = ["--interactions", "orders.csv", "--items", "products.csv", "--users", "buyers.csv"]
        return [*arguments, "--user-column", "buyer", "--item-column", "sku", "--item-vectors", "text=text.npz"]

    def new_product(self, number, sku):
        """A product like ``number``, as a row of the table of products with its vector."""
        row = self.products[self.products["sku"] == f"p{number}"].assign(sku=sku)
        return row.assign(text=[None if np.isnan(self.text[number]).any() else self.text[number].tolist()])
