"""A data set whose users have the content: another one's users as items, and its items as users.

    python benchmarks/swapped.py atomic_data/lfm-2k

writes ``atomic_data/lfm-2k-swapped`` for the tables of docs/results.md.
"""

import argparse
from pathlib import Path

import pandas as pd
import yaml

SWAPPED = {"user_id:token": "item_id:token", "item_id:token": "user_id:token"}


def swap(source: Path, target: Path, n_users: int | None) -> None:
    """Write the atomic files of ``target``, with ``n_users`` of the users drawn at random, or all."""
    pairs = read(source / f"{source.name}.inter")[list(SWAPPED)]
    if n_users is not None:
        drawn = pairs["user_id:token"].drop_duplicates().sample(n_users, random_state=0)
        pairs = pairs[pairs["user_id:token"].isin(drawn)]
    settings = yaml.safe_load((source / f"{source.name}.yaml").read_text())
    modalities = settings["modalities"]
    target.mkdir()
    for file in source.glob(f"{source.name}.*"):
        kind = file.suffix.removeprefix(".")
        if kind == "inter":
            pairs.to_csv(target / f"{target.name}.inter", sep="\t", index=False)
        elif kind != "yaml":
            kind = {"user": "item", "item": "user"}.get(kind, kind)
            read(file).to_csv(target / f"{target.name}.{kind}", sep="\t", index=False)
    swapped = {"user": modalities.get("item", {}), "item": modalities.get("user", {})}
    (target / f"{target.name}.yaml").write_text(yaml.safe_dump({"modalities": swapped}, sort_keys=False))
    print(f"{target}: {len(pairs):,} interactions")


def read(file: Path) -> pd.DataFrame:
    return pd.read_csv(file, sep="\t", dtype=str, keep_default_na=False).rename(columns=SWAPPED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a folder of atomic files")
    parser.add_argument("--users", type=int, help="so many of them, drawn at random (default: all)")
    arguments = parser.parse_args()
    swap(arguments.source, arguments.source.with_name(f"{arguments.source.name}-swapped"), arguments.users)


if __name__ == "__main__":
    main()
