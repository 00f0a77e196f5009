"""A data set of users with few interactions, from one of users with many: at most so many of each, drawn at random.

    python benchmarks/short_histories.py atomic_data/lfm-2k --keep 8

writes ``atomic_data/lfm-2k-short8`` for the tables of docs/results.md, with the same modalities.
"""

import argparse
import shutil
from pathlib import Path

import pandas as pd


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a folder of atomic files")
    parser.add_argument("--keep", type=int, default=8, help="interactions of a user (default: %(default)s)")
    arguments = parser.parse_args()
    source, name = arguments.source, f"{arguments.source.name}-short{arguments.keep}"
    target = source.with_name(name)
    target.mkdir()
    for file in source.glob(f"{source.name}.*"):
        copy = target / f"{name}{file.suffix}"
        if file.suffix == ".inter":
            pairs = pd.read_csv(file, sep="\t", dtype=str)
            drawn = pairs.sample(frac=1, random_state=0).groupby("user_id:token").head(arguments.keep).sort_index()
            drawn.to_csv(copy, sep="\t", index=False)
            print(f"{target}: {len(drawn):,} of {len(pairs):,} interactions")
        else:
            shutil.copy(file, copy)


if __name__ == "__main__":
    main()
