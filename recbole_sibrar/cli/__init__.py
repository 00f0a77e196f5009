"""The command line: arguments in, exit code out; a file for each group of commands."""

from recbole_sibrar.cli.command_line import main as main
from recbole_sibrar.cli.command_line import parse_options as parse_options
