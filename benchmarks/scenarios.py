"""NDCG@10, Coverage@10 and APLT@10 of several models in the three scenarios, one seed: the table of the README.

    python benchmarks/scenarios.py --dataset ml-100k [--seed 2020] [--output_dir results]

Finished runs are read from the output folder, not repeated.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from tabulate import tabulate

MODELS = ("SiBraR:SC", "SiBraR:S", "SiBraR:base", "MuBraR:SC", "BPR", "Pop", "Random")
SCENARIOS = {"warm": (*MODELS, "EASE"), "item_cold": MODELS, "user_cold": MODELS}
METRICS = {"ndcg@10": "NDCG", "coverage@10": "Coverage", "aplt@10": "APLT"}


def result(spec, scenario, arguments, extra):
    """The result of one run, from its file or from running it; None if it fails."""
    model, _, variant = spec.partition(":")
    name = f"{spec.replace(':', '_')}-{arguments.dataset}-{scenario}-seed{arguments.seed}"
    path = Path(arguments.output_dir) / name / "result.json"
    if not path.is_file():
        command = [
            sys.executable, "-m", "recbole_sibrar.cli", "run", f"--model={model}", f"--dataset={arguments.dataset}",
            f"--scenario={scenario}", f"--seed={arguments.seed}", f"--output_dir={arguments.output_dir}",
            f"--run_name={name}", "--state=ERROR", "--show_progress=False", *extra,
        ]  # fmt: skip
        print(" ".join(command[3:]), file=sys.stderr, flush=True)
        subprocess.run([*command, *([f"--variant={variant}"] if variant else [])], stdout=subprocess.DEVNULL)
    return json.loads(path.read_text()) if path.is_file() else None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--seed", default="2020")
    parser.add_argument("--output_dir", default="results")
    arguments, extra = parser.parse_known_args()
    for scenario, models in SCENARIOS.items():
        rows = []
        for spec in models:
            found = result(spec, scenario, arguments, extra)
            if found is None:
                rows.append([spec, "failed"])
                continue
            test = [found["test_result"][key] for key in METRICS]
            rows.append([spec, found["valid_result"]["ndcg@10"], *test, round(found["seconds"]["training"])])
        print(f"\n{arguments.dataset}, {scenario}, seed {arguments.seed}\n")
        headers = ("model", "NDCG (validation)", *(f"{name} (test)" for name in METRICS.values()), "seconds")
        print(tabulate(rows, headers=headers, floatfmt=".4f", tablefmt="github"))


if __name__ == "__main__":
    main()
