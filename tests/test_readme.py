"""The commands and examples of the README and of the tutorials run."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from recbole_sibrar import cli

ROOT = Path(__file__).resolve().parents[1]
# In this order, since the later ones use what the earlier ones wrote.
PAGES = ["README", *(f"docs/{name}" for name in ("running", "serving", "tables", "comparing", "missing", "data"))]
SHARED = Path(os.environ.get("SIBRAR_SHARED_DATA", ROOT.parent / "shared" / "data")) / "ml-1m"
FAST = ["--epochs=1", "--show_progress=False", "--state=ERROR"]


def text_of(page):
    return (ROOT / f"{page}.md").read_text(encoding="utf-8")


def examples(page):
    """(language, text) of everything on a page that is to run, in its order: a command of bash, a block of Python."""
    for language, block in re.findall(r"```(bash|python)\n(.*?)```", text_of(page), re.DOTALL):
        if language == "python":
            yield language, block
            continue
        for line in block.splitlines():
            command = line.split("#")[0].strip()
            if command and not command.startswith("pip "):
                yield language, command


def run_command(line):
    """The exit code of a command. A script runs in a process of its own, ``recbole-sibrar`` in this one, which spares
    the imports; the runs that ``compare`` starts are processes, too."""
    program, *words = shlex.split(line)
    words += FAST if "run_recbole_sibrar.py" in line or " run " in line else []
    if program == "python":
        return subprocess.run([sys.executable, ROOT / words[0], *words[1:]]).returncode
    try:
        return cli.main(words)
    except SystemExit as end:
        return end.code


def test_commands_and_examples():
    """One after the other in one folder."""
    if SHARED.is_dir():
        os.symlink(SHARED, "ml-1m")
    done = {"bash": 0, "python": 0}
    for page in PAGES:
        for language, text in examples(page):
            if "ml-1m" in text and not SHARED.is_dir():
                continue
            if language == "bash":
                code = run_command(text)
            else:
                code = subprocess.run([sys.executable, "-c", text]).returncode
            assert code == 0, f"{page}: {text}"
            done[language] += 1
    assert done["bash"] >= 12 and done["python"] >= 5


@pytest.mark.parametrize(
    "path",
    sorted(
        {
            path
            for page in ("docs/running", "docs/architecture")
            for path in re.findall(
                r"`((?:recbole_sibrar|models|data|kinds|evaluation|report|recbole_plugin)/[\w/]+\.py)`", text_of(page)
            )
        }
    ),
)
def test_files_named_on_a_page_exist(path):
    assert (ROOT / path).is_file() or (ROOT / "recbole_sibrar" / path).is_file()


@pytest.mark.parametrize("page", [path.relative_to(ROOT).with_suffix("") for path in (ROOT / "docs").rglob("*.md")])
def test_every_page_is_in_the_navigation(page):
    assert f"{page.relative_to('docs')}.md" in (ROOT / "mkdocs.yml").read_text(encoding="utf-8")


def test_every_command_has_a_page(capsys):
    assert run_command("recbole-sibrar --help") == 0
    commands = re.findall(r"^    (\w+)(?: +\S|$)", capsys.readouterr().out, re.MULTILINE)
    assert {"run", "report", "doctor"} <= set(commands)
    for name in commands:
        assert f"commands/{name}.md" in (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
