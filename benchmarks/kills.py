"""Kill -9 at random moments, then the same command again: nothing lost, nothing left over, equal results.

    python benchmarks/kills.py [--kills 100] [--seed 0] [--only run compare ...] [--output FILE]

Each command runs once without interruption. Then it is started in a folder of its own, killed at a random moment (every
second time one of the processes that it started, where it starts any, else itself), and started again, until it was
killed often enough, in an empty folder every fourth time and when it has ended; the last time it may end. Counted are
processes that outlive the killed one, commands that fail, files that the uninterrupted command has not left, and
results that differ. Prints a line for each kill, and a Markdown table.
"""

import argparse
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from tabulate import tabulate

DATA = ["--dataset=tiny", "--data_path=../data"]
FEW = ["--embedding_size=8", "--topk=[3]", "--valid_metric=NDCG@3", "--stopping_step=100"]
QUIET = ["--show_progress=False", "--state=ERROR"]
COMMANDS = {
    "run": ["run", *DATA, *FEW, *QUIET, "--epochs=30", "--scenario=item_cold", "--resume=True", "--run_name=r"],
    "compare": ["compare", *DATA, *FEW, "--epochs=3", "--models", "SiBraR", "DropoutNet", "--scenarios", "warm",
                "--jobs", "2"],
    "missing": ["missing", "../trained/m", "--data_path=../data", "--output", "missing"],
    "tune": ["tune", *DATA, *FEW, *QUIET, "--model=BPR", "--trials=3", "--epochs=5", "--space=../space.yaml"],
    "convert": ["convert", "table", "--name=shop", "--interactions=../orders.csv", "--item-vectors=v=../v.npz",
                "--output=out"],
    "recommend": ["recommend", "--checkpoint=../trained/m/model.pth", "--all-users", "--k=20", "--output=recs.csv"],
}  # fmt: skip
HAVE_CHILDREN = ("compare",)
FREE = ("log", "log_tensorboard", "source.json")  # with the time in their names, or in them
TIMES = ("seconds", "training_seconds", "config", "created", "finished", "duration")


def write_data(folder):
    """A data set of 40 users and 30 items, a table of orders, vectors, a search space."""
    rng = np.random.default_rng(0)
    tiny = folder / "data" / "tiny"
    tiny.mkdir(parents=True)
    pairs = [f"u{user}\ti{item}" for user in range(40) for item in rng.choice(30, 11, replace=False)]
    (tiny / "tiny.inter").write_text("\n".join(["user_id:token\titem_id:token", *pairs]) + "\n")
    items = [f"i{item}\tgroup{item % 3} any\t{1990 + item}" for item in range(30)]
    (tiny / "tiny.item").write_text("\n".join(["item_id:token\tgenres:token_seq\tyear:float", *items]) + "\n")
    (tiny / "tiny.yaml").write_text("modalities: {user: {}, item: {genres: tags, year: number}}\n")
    orders = [f"{user},{item}" for user in range(1500) for item in rng.choice(800, 20, replace=False)]
    (folder / "orders.csv").write_text("\n".join(["user_id,item_id", *orders]) + "\n")
    np.savez(folder / "v.npz", ids=np.arange(800).astype(str), values=rng.normal(size=(800, 64)).astype("float32"))
    (folder / "space.yaml").write_text("learning_rate: {choice: [0.01, 0.001]}\n")


def start(command, folder):
    folder.mkdir(exist_ok=True)
    words = [sys.executable, "-m", "recbole_sibrar.cli", *command]
    return subprocess.Popen(words, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def descendants(pid) -> list:
    """The processes that a process has started, and they, and so on."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z":
            parents[int(path.parent.name)] = int(fields[1])
    found = [pid]
    for parent in found:
        found += [child for child, its in parents.items() if its == parent]
    return found[1:]


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def kill(process, seconds, of_a_child) -> dict:
    """Kill the process, or one that it started, after some seconds; {"killed", "of a child", "outlived"}."""
    moment = time.monotonic() + seconds
    while process.poll() is None:
        family = descendants(process.pid)
        if time.monotonic() > moment and (family or not of_a_child):
            break
        time.sleep(0.02)
    else:
        process.communicate()
        return {"killed": 0}
    os.kill(random.choice(family) if of_a_child else process.pid, signal.SIGKILL)
    process.communicate()  # a killed child is a failed run; the command goes on without it
    if of_a_child:
        return {"killed": 1, "of a child": 1, "outlived": 0}
    deadline = time.monotonic() + 2
    while any(map(is_alive, family)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return {"killed": 1, "of a child": 0, "outlived": sum(map(is_alive, family))}


def contents(folder) -> dict:
    """{file: what has to be equal}, without times and what is drawn with the time in its name."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_dir() or name.parts[0] in FREE or name.name in FREE:
            continue
        found[str(name)] = _content(path)
    return found


def _content(path):
    if path.suffix == ".json":
        return _without_times(json.loads(path.read_text()))
    if path.suffix == ".csv":
        with open(path, newline="") as file:
            rows = list(csv.DictReader(file))
        return [{key: value for key, value in row.items() if not key.startswith(TIMES)} for row in rows]
    return path.name if path.suffix in (".pth", ".png", ".svg", ".pdf", ".pt", ".md", ".tex") else path.read_bytes()


def _without_times(value):
    if isinstance(value, dict):
        return {key: _without_times(entry) for key, entry in value.items() if key not in TIMES}
    return [_without_times(entry) for entry in value] if isinstance(value, list) else value


def try_out(name, n_kills, folder) -> dict:
    command, expected_in, folder_of_kills = COMMANDS[name], folder / f"{name}-whole", folder / f"{name}-killed"
    begin = time.monotonic()
    process = start(command, expected_in)
    error = process.communicate()[1]
    if process.returncode:
        raise SystemExit(f"{name} fails without being killed:\n{error}")
    whole, counts = time.monotonic() - begin, {"killed": 0, "of a child": 0, "outlived": 0}
    tries, outcome = 0, {"killed": 0}
    while counts["killed"] < n_kills and tries < 3 * n_kills:
        if tries % 4 == 3 or not outcome["killed"]:  # else nothing is left to be interrupted
            shutil.rmtree(folder_of_kills, ignore_errors=True)
        of_a_child = name in HAVE_CHILDREN and 2 * counts["of a child"] <= counts["killed"]
        seconds = random.uniform(0.1, 0.95) * whole
        outcome = kill(start(command, folder_of_kills), seconds, of_a_child)
        counts = {key: value + outcome.get(key, 0) for key, value in counts.items()}
        tries += 1
        what = ("of a child" if of_a_child else "of itself") if outcome["killed"] else "it had ended"
        print(f"{name}, {counts['killed']} of {n_kills} kills: {what}, {seconds:.1f} s", file=sys.stderr, flush=True)
    process = start(command, folder_of_kills)
    error = process.communicate()[1]
    expected, found = contents(expected_in), contents(folder_of_kills)
    differing = [file for file in expected if file in found and expected[file] != found[file]]
    for file in differing:
        print(f"{name}: {file} differs", file=sys.stderr)
    for file in set(expected) ^ set(found):
        print(f"{name}: {file} is in one of the two only", file=sys.stderr)
    if process.returncode:
        print(f"{name}: {error}", file=sys.stderr)
    return {
        "command": name,
        **counts,
        "exit code then": process.returncode,
        "lost": len(set(expected) - set(found)),
        "left over": len(set(found) - set(expected)),
        "different": len(differing),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="in all (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--output", help="append the table to this file")
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_data(folder)
        train = ["run", *DATA, *FEW, *QUIET, "--epochs=2", "--scenario=item_cold", "--output_dir=.", "--run_name=m"]
        start(train, folder / "trained").communicate()
        n_each = -(-arguments.kills // len(arguments.only))
        rows = []
        for name in arguments.only:
            rows.append(try_out(name, n_each, folder))
            print(rows[-1], file=sys.stderr, flush=True)
    table = tabulate(rows, headers="keys", tablefmt="github")
    print(table)
    if arguments.output:
        with open(arguments.output, "a") as file:
            file.write(f"{table}\n")


if __name__ == "__main__":
    main()
