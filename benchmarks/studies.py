"""Peak memory of what looks at a trained model: per_user.csv, missing, gap, explain, at many users and items.

    python benchmarks/studies.py [--users 200000] [--items 50000] [--per-user 10] [--output FILE]

Random interactions, tags and numbers; SiBraR_SC-strong trains for one epoch with 256 negatives that a batch
shares. Each command is a process of its own. Prints a Markdown table.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from tabulate import tabulate

RUN = ["--dataset=big", "--data_path=.", "--scenario=warm", "--single_branch=both", "--epochs=1",
       "--preset=strong", "--softmax_negatives=256", "--train_batch_size=2048",
       "--show_progress=False", "--state=ERROR", "--run_name=r"]  # fmt: skip
EXPLAIN = """
from recbole_sibrar.serving.recommender import Recommender
recommender = Recommender.load("results/r/model.pth")
print(recommender.explain("u1", "i1"), recommender.recommend(["u1"], k=5))
"""
CLI = ["-m", "recbole_sibrar.cli"]
COMMANDS = {
    "run, with per_user.csv": [*CLI, "run", *RUN],
    "missing, 4 subsets": [*CLI, "missing", "results/r", "--side=item", "--max-subsets=5", "--output=missing"],
    "gap": [*CLI, "gap", "results/r", "--side=item", "--output=gap"],
    "gap of users": [*CLI, "gap", "results/r", "--side=user", "--output=gap-users"],
    "explain": ["-c", EXPLAIN],
}


def write_data(folder, n_users, n_items, per_user):
    rng = np.random.default_rng(0)
    (folder / "big").mkdir()
    with open(folder / "big/big.inter", "w") as file:
        file.write("user_id:token\titem_id:token\n")
        for user in range(n_users):
            items = np.unique((rng.random(per_user) ** 2 * n_items).astype(int))
            file.writelines(f"u{user}\ti{item}\n" for item in items)
    with open(folder / "big/big.item", "w") as file:
        file.write("item_id:token\tgenres:token_seq\tyear:float\n")
        file.writelines(f"i{item}\tg{item % 20} h{item % 7}\t{1950 + item % 70}\n" for item in range(n_items))
    with open(folder / "big/big.user", "w") as file:
        file.write("user_id:token\tgender:token\tage:float\n")
        file.writelines(f"u{user}\t{'FM'[user % 2]}\t{20 + user % 60}\n" for user in range(n_users))
    (folder / "big/big.yaml").write_text(
        "modalities: {user: {gender: category, age: number}, item: {genres: tags, year: number}}\n"
    )


def measure(command, folder):
    """(exit code, peak MiB, seconds) of a Python command."""
    begin = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        os.chdir(folder)
        os.execv(sys.executable, [sys.executable, *command])
    _, status, usage = os.wait4(pid, 0)
    return os.waitstatus_to_exitcode(status), usage.ru_maxrss / 2**10, time.perf_counter() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--per-user", type=int, default=10)
    parser.add_argument("--output", help="append the table to this file")
    arguments = parser.parse_args()
    rows = [("import alone", *measure(["-c", "import recbole_sibrar.recbole_plugin.run"], "."))]
    with tempfile.TemporaryDirectory() as temporary:
        write_data(Path(temporary), arguments.users, arguments.items, arguments.per_user)
        for name, command in COMMANDS.items():
            rows.append((name, *measure(command, temporary)))
            print(rows[-1], file=sys.stderr, flush=True)
    headers = ("command", "exit code", "peak MiB", "seconds")
    table = tabulate(rows, headers=headers, tablefmt="github", floatfmt=".0f")
    print(table)
    if arguments.output:
        Path(arguments.output).write_text(f"{table}\n")


if __name__ == "__main__":
    main()
