"""The ``convert`` command: a sub-command for each corpus."""

import argparse
from time import perf_counter

from recbole_sibrar.convert import ml_1m
from recbole_sibrar.errors import OptionError

EXAMPLE = """\
example:
  recbole-sibrar convert ml-1m --raw ml-1m --item-vectors plot=plot_minilm.npz poster=poster_efficientnet.npz
"""
REPLACED = "An existing data set is replaced, whole or not at all."


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


def _add(corpora, name, help, description, convert, k_core):
    """A sub-command with the options that all have; ``convert(arguments)`` writes and returns the folder."""
    parser = corpora.add_parser(name, help=help, description=f"{description} {REPLACED}")
    parser.add_argument("--output", default="atomic_data", metavar="DIR", help="default: %(default)s")
    if name != "table":
        parser.add_argument("--raw", required=True, metavar="DIR", help="the folder with the raw files")
        parser.add_argument("--name", default=name, help="of the data set (default: %(default)s)")
    parser.add_argument("--k-core", type=int, default=k_core, metavar="K", help="0 turns it off (default: %(default)s)")
    parser.add_argument("--float16", action="store_true", help="store vectors in half the space")

    def handler(arguments):
        start = perf_counter()
        folder = convert(arguments)
        print(f"written to {folder} in {perf_counter() - start:.0f} s")
        return 0

    parser.set_defaults(handler=handler)
    return parser


def _add_item_vectors(parser):
    parser.add_argument(
        "--item-vectors", nargs="+", default=[], metavar="NAME=FILE",
        help="embeddings with ids: npz, npy, tsv, csv, parquet",
    )  # fmt: skip


def _add_ml_1m(corpora):
    def convert(arguments):
        return ml_1m.convert(
            arguments.raw,
            arguments.output,
            min_rating=arguments.min_rating,
            k=arguments.k_core,
            require=arguments.require,
            plots=arguments.plots,
            item_vectors=pairs(arguments.item_vectors, "--item-vectors", "plot=plot_minilm.npz"),
            name=arguments.name,
            half=arguments.float16,
        )

    parser = _add(
        corpora, "ml-1m", "MovieLens 1M", "Convert the official ratings.dat, users.dat and movies.dat.", convert, 5
    )
    parser.add_argument("--min-rating", type=float, default=3, help="keep ratings from here on (default: %(default)s)")
    parser.add_argument(
        "--require", nargs="+", default=[], metavar="FEATURE", help="drop items without genres, year, plot or a vector"
    )
    parser.add_argument("--plots", metavar="FILE", help="table movie_id, plot (default: plots.tsv in --raw)")
    _add_item_vectors(parser)


def pairs(arguments, option: str, example: str, what: str = "file") -> dict:
    """``name=value`` arguments to ``{name: value}``.

    Raises:
        OptionError: an argument of another form, or a name given twice.
    """
    values = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not (name and equals and value):
            raise OptionError(f"{option} {argument!r}: expected name={what}, for example {example}.")
        if name in values:
            raise OptionError(f"{option}: {name!r} is given twice.")
        values[name] = value
    return values
