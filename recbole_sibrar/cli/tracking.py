"""``--track`` of the commands that have results."""

import argparse

from recbole_sibrar.report.tracking import TRACKERS


def add_track_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--track``."""
    parser.add_argument("--track", choices=list(TRACKERS), help="send the results there, too (default: nowhere)")
