"""A data set of users with few interactions, from one of users with many: at most so many of each, drawn at random.

    python benchmarks/short_histories.py atomic_data/lfm-2k --keep 8

writes ``atomic_data/lfm-2k-short8`` for the tables of docs/results.md, with the same modalities.
"""

import argparse
from pathlib import Path

import pandas as pd
from derived import derive


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a folder of atomic files")
    parser.add_argument("--keep", type=int, default=8, help="interactions of a user (default: %(default)s)")
    arguments = parser.parse_args()

    def drawn(pairs: pd.DataFrame) -> pd.DataFrame:
        return pairs.sample(frac=1, random_state=0).groupby("user_id:token").head(arguments.keep).sort_index()

    derive(arguments.source, f"{arguments.source.name}-short{arguments.keep}", drawn)


if __name__ == "__main__":
    main()
