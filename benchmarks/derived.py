"""A data set made of another one's interactions, for the benchmarks beside it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd


def derive(source: Path, name: str, left: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Write atomic files called ``name`` beside the folder ``source``, with the interactions that ``left`` gives of its
    own."""
    target = source.with_name(name)
    target.mkdir()
    for file in source.glob(f"{source.name}.*"):
        copy = target / f"{name}{file.suffix}"
        if file.suffix == ".inter":
            pairs = pd.read_csv(file, sep="\t", dtype=str)
            kept = left(pairs)
            kept.to_csv(copy, sep="\t", index=False)
            print(f"{target}: {len(kept):,} of {len(pairs):,} interactions")
        else:
            shutil.copy(file, copy)
