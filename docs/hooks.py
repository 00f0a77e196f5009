"""What is made when the site is built: a page for each command, out of its own help, and formulas of docstrings."""

import argparse
import os
import re

from mkdocs.structure.files import File

from recbole_sibrar.cli.command_line import _parser

os.environ["COLUMNS"] = "110"


def on_files(files, config):
    for name, parser in subcommands(_parser()).items():
        files.append(File.generated(config, f"commands/{name}.md", content=page(name, parser)))
    return files


def on_page_content(html, page, config, files):
    """Docstrings are written for Sphinx's roles and formulas, which Markdown does not know."""
    html = re.sub(r":(?:math|func|class|mod):(?=<code>)", "", html)
    return re.sub(r"<p>\.\. math:: (.*?)</p>", r"<pre>\1</pre>", html, flags=re.DOTALL)


def subcommands(parser) -> dict:
    """{name: parser}."""
    actions = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(actions[0].choices) if actions else {}


def page(name, parser) -> str:
    """The help of a command and of those below it."""
    parts = [f"# recbole-sibrar {name}", f"```text\n{parser.format_help()}```"]
    for below, own in subcommands(parser).items():
        parts += [f"## {name} {below}", f"```text\n{own.format_help()}```"]
    return "\n\n".join(parts) + "\n"
