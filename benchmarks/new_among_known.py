"""New and known items in one list, as when serving: a fifth of all interactions is held out before anything is trained.

    python benchmarks/new_among_known.py hold atomic_data/lfm-2k
    recbole-sibrar compare --models SiBraR:SC:strong ContentRidge --scenarios item_cold --dataset lfm-2k-held
    python benchmarks/new_among_known.py rank results/*-lfm-2k-held-item_cold-*

``hold`` writes ``atomic_data/lfm-2k-held``, with the same modalities, and beside its files ``held.tsv``. In item cold
start a tenth of the items is then new, and what is held out is as large a share of theirs as of the others. ``rank``
ranks all items for all users, without what is in training, what else is known of the new items, and the new items of
validation.
"""

import argparse
from pathlib import Path

import pandas as pd
import torch
from derived import derive
from torch import Tensor

from recbole_sibrar import checkpoint
from recbole_sibrar.hook import load_recbole

HELD = "held.tsv"
K = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    hold = commands.add_parser("hold", help="write a data set without a fifth of the interactions")
    hold.add_argument("source", type=Path, help="a folder of atomic files")
    hold.set_defaults(command=lambda given: hold_out(given.source))
    rank = commands.add_parser("rank", help="rank all items, by models trained on such data")
    rank.add_argument("runs", type=Path, nargs="+", help="folders of runs")
    rank.set_defaults(command=lambda given: ranked(given.runs))
    arguments = parser.parse_args()
    arguments.command(arguments)


def hold_out(source: Path) -> None:
    name = f"{source.name}-held"

    def left(pairs: pd.DataFrame) -> pd.DataFrame:
        held = pairs.sample(frac=0.2, random_state=0)
        held.sort_index().to_csv(source.with_name(name) / HELD, sep="\t", index=False)
        return pairs.drop(held.index)

    derive(source, name, left)


def ranked(runs: list[Path]) -> None:
    load_recbole()
    from recbole_sibrar.recbole_plugin.trained import TrainedModel

    rows = []
    for run in runs:
        trained = TrainedModel(run)
        core, tokens = trained.core.eval(), checkpoint.load(trained.path)["serving"]["tokens"]
        folder = Path(trained.config["data_path"])
        users, items = (torch.arange(len(tokens[side])) for side in ("user", "item"))
        known = core.entities("item").trained
        new = torch.zeros_like(known).index_fill_(0, trained.phase("test").positives.columns, True) & ~known
        with torch.no_grad():
            scores = core.embeddings("user", users) @ core.embeddings("item", items).T
        held, seen = (marked(scores, folder / file, tokens) for file in (HELD, f"{trained.dataset}.inter"))
        scores[seen] = -torch.inf
        scores[:, ~(known | new)] = -torch.inf
        held &= (known | new) & ~seen
        asked = held.any(1) & core.entities("user").trained
        ndcg, share = of_lists(scores[asked], held[asked], new)
        of_held = (held[asked] & new).sum() / held[asked].sum()
        rows.append((trained.name, trained.config["seed"], ndcg, share, of_held.item()))
    columns = ["model", "seed", f"NDCG@{K}", "new in lists", "new in what is held out"]
    print(pd.DataFrame(rows, columns=columns).to_string(index=False, float_format="{:.3f}".format))


def marked(scores: Tensor, file: Path, tokens: dict[str, list[str]]) -> Tensor:
    """(U, I) bool, the pairs of a file."""
    pairs = pd.read_csv(file, sep="\t", dtype=str)
    users, items = (pd.Index(tokens[side]).get_indexer(pairs[f"{side}_id:token"]) for side in ("user", "item"))
    there = torch.zeros_like(scores, dtype=torch.bool)
    is_known = (users >= 0) & (items >= 0)
    there[users[is_known], items[is_known]] = True
    return there


def of_lists(scores: Tensor, held: Tensor, new: Tensor) -> tuple[float, float]:
    """NDCG@K and the share of the lists that is new."""
    lists = scores.topk(K).indices
    weights = 1 / torch.log2(torch.arange(K) + 2.0)
    ideal = weights.cumsum(0)[held.sum(1).clamp(max=K) - 1]
    return (held.gather(1, lists).float() @ weights / ideal).mean().item(), new[lists].float().mean().item()


if __name__ == "__main__":
    main()
