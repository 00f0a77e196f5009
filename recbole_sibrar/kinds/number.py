"""One number, such as a year or a price."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from recbole_sibrar.checked import option
from recbole_sibrar.data.atomic import LARGEST, parse_numbers
from recbole_sibrar.data.cells import is_number
from recbole_sibrar.data.dates import is_moment
from recbole_sibrar.data.modalities import Declaration, Features, Modality
from recbole_sibrar.data.sparse import SparseRows
from recbole_sibrar.errors import DataError
from recbole_sibrar.kinds.agreement import agreement
from recbole_sibrar.kinds.block import Block
from recbole_sibrar.kinds.kind import Kind, wrong_value
from recbole_sibrar.kinds.projection import Projection
from recbole_sibrar.layers import mlp

N_BINS = 8
ROUNDING = 1e-12
"""Of a number, which is a double: a smaller deviation is that of one and the same number, whose mean is rounded."""


@dataclass(frozen=True)
class NumberInputs:
    number_encoding: str = option(
        "a number in standard deviations (standardized), or piecewise linear over quantile bins (bins)",
        ("standardized", "bins"),
        default="standardized",
    )


class NumberProjection(Projection):
    """A linear layer on the number.

    ``number_encoding: standardized`` gives it in standard deviations from the training entities' mean (the authors'
    code feeds it raw, years and all). ``bins`` is piecewise linear (Gorishniy et al., NeurIPS 2022): bin t of 8
    quantile bins of the training entities holds how far the number has come through it, clipped to [0, 1], so that a
    single linear layer can bend at the bins' edges; with ``tag_weighting: shrunk`` times the weight of bin t as a tag,
    where the smallest number is none of bin 1, which tells it from the others: that of either, if it is larger.
    """

    def build(self, modality: Modality, trained: Tensor, sizes: list[int]) -> None:
        self.register_buffer("values", modality.values, persistent=False)
        known = modality.values[trained]
        if self.options.number_encoding == "bins":
            self.register_buffer("edges", quantile_edges(known))
            width = N_BINS
        else:
            mean, deviation = (known.mean(), known.std(correction=0)) if len(known) else (torch.zeros(()),) * 2
            self.register_buffer("mean", mean)
            self.register_buffer("deviation", torch.where(deviation > ROUNDING * mean.abs(), deviation, 1.0))
            width = 1
        self.network = mlp([width, *sizes], self.activation)

    def weigh(self, modality: Modality, known: Tensor, interactions: SparseRows) -> None:
        if self.options.number_encoding == "bins" and self.options.tag_weighting == "shrunk":
            bins = torch.searchsorted(self.edges[:-1], modality.values[known])
            weights = agreement(SparseRows.one_each(bins, N_BINS + 1), interactions.select(known))
            self.register_buffer("importance", torch.cat([weights[:2].amax(0, keepdim=True), weights[2:]]))

    def project(self, features: Features) -> Tensor:
        if self.options.number_encoding == "bins":
            columns = piecewise_linear(features, self.edges)
            if self.options.tag_weighting == "shrunk":
                columns = columns * self.importance
            return self.network(columns)
        return self.network(((features - self.mean) / self.deviation).float().unsqueeze(1))


class NumberBlock(Block):
    """Piecewise linear over quantile bins, as in ``NumberProjection``."""

    def build(self, modality: Modality, known: Tensor) -> None:
        super().build(modality, known)
        self.register_buffer("edges", quantile_edges(modality.values[known]), persistent=False)

    def columns_of(self, features: Features) -> Tensor:
        return piecewise_linear(features, self.edges)


class Number(Kind):
    """(N,) float64, as float32 cannot tell times apart; of width 1."""

    name = "number"
    column_type = "float"
    projection = NumberProjection
    weights = {"number": (4.0, "weight of a number modality")}
    inputs, linear_inputs = NumberInputs, {"number_encoding": "bins"}
    zero_is_mean = True

    def checked(self, column: pd.Series, path: Path, declaration: Declaration) -> pd.Series:
        numbers = parse_numbers(column, path, declaration.field, partial(_advice, declaration))
        return numbers.mask(numbers.isin([float(text) for text in declaration.missing if is_number(text)]))

    def says_none(self, cell: object, missing: Collection[str]) -> bool:
        """-1.0 is -1, too: gaps in a column decide how pandas writes whole numbers."""
        numbers = [float(text) for text in missing if is_number(text)]
        return super().says_none(cell, missing) or is_number(str(cell)) and float(str(cell)) in numbers

    def from_column(self, name: str, column: pd.Series, separator: str) -> Modality:
        return number_modality(name, column.to_numpy(dtype=np.float64))

    def blocks(self, entry: Modality, trained: Tensor, weights: dict[str, float]) -> list[Block]:
        return [NumberBlock(entry, trained, weights[self.name])]

    def columns(self, features: Tensor, entry: Modality) -> Tensor:
        return features.unsqueeze(1)

    def from_columns(self, columns: Tensor, entry: Modality) -> Tensor:
        return columns.squeeze(1)

    def parse(self, entry: Modality, cells: list[Any], tokens: Sequence[str], told: set[tuple[str, str]]) -> Modality:
        numbers = np.full(len(cells), np.nan)
        for row, cell in enumerate(cells):
            if cell is not None:
                try:
                    numbers[row] = float(None if isinstance(cell, (bool, np.bool_)) else cell)
                except (TypeError, ValueError, OverflowError):
                    raise wrong_value(entry, tokens[row], cell, "a number, or nothing") from None
                if abs(numbers[row]) > LARGEST:
                    raise DataError(
                        f"{tokens[row]!r}: {entry.name} is {cell!r}; expected a finite number below {LARGEST:.1e}."
                    )
        return number_modality(entry.name, numbers)

    def fits(self, cells: pd.Series, separator: str) -> float:
        is_code = cells.str.match(r"\s*0\d").any()  # a postal code, such as 01234
        return 1.0 if not is_code and pd.to_numeric(cells, errors="coerce").notna().all() else 0.0

    def written(self, column: pd.Series, separator: str, path: str | Path) -> pd.Series:
        return parse_numbers(column.str.strip(), path, column.name)


DATE = re.compile(r"\d{1,2}([./-])\d{1,2}\1\d{4}|\d{4}([./])\d{1,2}\2\d{1,2}")
NUMBER = re.compile(
    r"(?P<before>[^\w\s.,+-]?)\s?[+-]?(\d+|\d{1,3}([., ']\d{3})+)([.,]\d+)?\s?(?P<unit>/\d+|[^\d\s]{0,12})"
)
DURATION = re.compile(r"\d{1,3}:[0-5]\d(:[0-5]\d)?|PT(\d+H)?(\d+M)?(\d+(\.\d+)?S)?")
MOSTLY = 0.9


def written_otherwise(column: pd.Series) -> str:
    """A question on texts, "" if missing, nearly all of which are numbers or dates but are not written as such.

    >>> written_otherwise(pd.Series(["12,50 €", "1.299 €"])), written_otherwise(pd.Series(["31.5.2024"]))
    ("numbers, such as '12,50 €'? Write them like 12.5", "dates, such as '31.5.2024'? Write them like 2024-05-31")
    >>> written_otherwise(pd.Series(["2024-05-31"] * 11 + ["TBA"]))
    "dates but for 'TBA'? Leave such cells empty, or name the text in --missing (missing)"
    >>> written_otherwise(pd.Series(["4.5/5", "3/5"])), written_otherwise(pd.Series(["173 kcal"]))
    ("numbers, such as '4.5/5'? Write them like 12.5", "numbers, such as '173 kcal'? Write them like 12.5")
    >>> written_otherwise(pd.Series(["12:34", "1:02:59", "PT3M7S"]))
    "durations, such as '12:34'? Write them like 754 (seconds)"
    >>> written_otherwise(pd.Series(["80B", "75C"])), written_otherwise(pd.Series(["01234", "5"]))
    ('', '')
    """
    cells = column[column != ""].str.strip()
    for what, is_one in (("numbers", is_number), ("dates", is_moment)):
        others = cells[~cells.map(is_one).astype(bool)]
        if not len(others):
            return ""
        if len(others) < (1 - MOSTLY) * len(cells):
            text = f"{others.iloc[0]!r:.40}"
            return f"{what} but for {text}? Leave such cells empty, or name the text in --missing (missing)"
    found = cells.map(NUMBER.fullmatch).dropna()
    is_number_in_all = len({(match["before"], match["unit"]) for match in found}) == 1
    for what, n, plain in (
        ("dates", cells.str.fullmatch(DATE).sum(), "2024-05-31"),
        ("durations", cells.str.fullmatch(DURATION).sum(), "754 (seconds)"),
        ("numbers", len(found) if is_number_in_all else 0, "12.5"),
    ):
        if n > MOSTLY * len(cells):
            return f"{what}, such as {others.iloc[0]!r:.40}? Write them like {plain}"
    return ""


def _advice(declaration: Declaration, text: str) -> str:
    """The declaration that takes this text, too, for a missing value."""
    field = "" if declaration.field == declaration.name else f", field: {declaration.field}"
    return f", or declare {{{declaration.name}: {{kind: number{field}, missing: {[*declaration.missing, text]}}}}}"


def number_modality(name: str, numbers: np.ndarray) -> Modality:
    """From one number per entity; NaN is missing."""
    available = torch.from_numpy(~np.isnan(numbers))
    return Modality(name, "number", available, torch.from_numpy(np.nan_to_num(numbers)), 1)


def quantile_edges(known: Tensor) -> Tensor:
    """The edges (N_BINS + 1,) of quantile bins, from the numbers of the training entities (K,) float64.

    Where quantiles coincide, bins of width one, or more for large numbers, follow the last: no training value reaches
    them.

    >>> quantile_edges(torch.tensor([3.0, 3.0], dtype=torch.double)).tolist()
    [3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0]
    """
    known = known.double() if len(known) else torch.zeros(1, dtype=torch.double)
    edges = known.quantile(torch.linspace(0, 1, N_BINS + 1, dtype=torch.double)).unique()
    width = (edges[-1].abs() * 1e-9).clamp(min=1)
    return torch.cat([edges, edges[-1] + width * torch.arange(1, N_BINS + 2 - len(edges))])


def piecewise_linear(numbers: Tensor, edges: Tensor) -> Tensor:
    """(N,), (B + 1,) float64 -> (N, B) float32: how far each number has come through each bin, clipped to [0, 1].

    >>> piecewise_linear(torch.tensor([1.5]), torch.tensor([0.0, 1.0, 2.0, 3.0])).tolist()
    [[1.0, 0.5, 0.0]]
    """
    low, high = edges[:-1], edges[1:]
    return ((numbers.unsqueeze(1) - low) / (high - low)).clamp(0, 1).float()
