"""The ``convert`` command: a sub-command for each corpus."""

import argparse
from time import perf_counter

from recbole_sibrar.convert import ml_1m
from recbole_sibrar.errors import OptionError

EXAMPLE = """\
example:
  recbole-sibrar convert ml-1m --raw ml-1m --item-vectors plot=plot_minilm.npz poster=poster_efficientnet.npz
"""


def add_convert_parser(commands) -> None:
    """Add ``convert`` to the command line; each corpus sets the handler that is called with the arguments."""
    convert = commands.add_parser(
        "convert",
        help="write a corpus as RecBole atomic files",
        description="Write a corpus, with its side features, as RecBole atomic files.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    corpora = convert.add_subparsers(dest="corpus", metavar="CORPUS", required=True)
    _add_ml_1m(corpora)


def _add_ml_1m(corpora):
    parser = corpora.add_parser(
        "ml-1m",
        help="MovieLens 1M",
        description="Convert the official ratings.dat, users.dat and movies.dat. An existing data set is replaced, "
        "whole or not at all.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--raw", required=True, metavar="DIR", help="the folder with the official files")
    parser.add_argument("--output", default="atomic_data", metavar="DIR", help="default: %(default)s")
    parser.add_argument("--name", default="ml-1m", help="of the data set (default: %(default)s)")
    parser.add_argument("--min-rating", type=float, default=3, help="keep ratings from here on (default: %(default)s)")
    parser.add_argument("--k-core", type=int, default=5, help="0 turns it off (default: %(default)s)")
    parser.add_argument(
        "--require", nargs="+", default=[], metavar="FEATURE", help="drop items without genres, year, plot or a vector"
    )
    parser.add_argument("--plots", metavar="FILE", help="table movie_id, plot (default: plots.tsv in --raw)")
    parser.add_argument(
        "--item-vectors", nargs="+", default=[], metavar="NAME=FILE", help="embeddings with ids: npz, npy, tsv, parquet"
    )
    parser.set_defaults(handler=_convert_ml_1m)


def _convert_ml_1m(arguments) -> int:
    start = perf_counter()
    folder = ml_1m.convert(
        arguments.raw,
        arguments.output,
        min_rating=arguments.min_rating,
        k=arguments.k_core,
        require=arguments.require,
        plots=arguments.plots,
        item_vectors=named_files(arguments.item_vectors, "--item-vectors"),
        name=arguments.name,
    )
    print(f"written to {folder} in {perf_counter() - start:.0f} s")
    return 0


def named_files(arguments, option: str) -> dict:
    """``name=file`` arguments to ``{name: file}``.

    Raises:
        OptionError: an argument of another form, or a name given twice.
    """
    files = {}
    for argument in arguments:
        name, equals, path = argument.partition("=")
        if not (name and equals and path):
            raise OptionError(f"{option} {argument!r}: expected name=file, for example plot=plot_minilm.npz.")
        if name in files:
            raise OptionError(f"{option}: {name!r} is given twice.")
        files[name] = path
    return files
