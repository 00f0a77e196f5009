"""The README's commands and examples run."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHARED = Path(os.environ.get("SIBRAR_SHARED_DATA", ROOT.parent / "shared" / "data")) / "ml-1m"
FAST = ["--epochs=1", "--show_progress=False", "--state=ERROR"]


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands():
    lines = [line.split("#")[0].strip() for block in blocks("bash") for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("pip ")]


def run_command(line):
    words = shlex.split(line)
    if words[0] == "python":
        words = [sys.executable, str(ROOT / words[1]), *words[2:]]
    else:
        words = [sys.executable, "-m", "recbole_sibrar.cli", *words[1:]]
    if "run_recbole_sibrar.py" in line or " run " in line:
        words += FAST
    return subprocess.run(words, capture_output=True, text=True)


def test_commands_and_examples():
    """One after the other in one folder, since the later ones use what the earlier ones wrote."""
    if SHARED.is_dir():
        os.symlink(SHARED, "ml-1m")
    lines = [line for line in commands() if SHARED.is_dir() or "ml-1m" not in line]
    assert len(lines) >= 7
    for line in lines:
        done = run_command(line)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
    examples = blocks("python")
    assert len(examples) >= 3
    for example in examples:
        done = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True)
        assert done.returncode == 0, f"{example}\n{done.stderr}"


@pytest.mark.parametrize(
    "path", re.findall(r"`((?:recbole_sibrar|models|data|evaluation|recbole_plugin)/\w+\.py)`", README)
)
def test_files_named_in_the_readme_exist(path):
    assert (ROOT / path).is_file() or (ROOT / "recbole_sibrar" / path).is_file()
