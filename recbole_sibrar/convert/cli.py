"""The ``convert`` command: a sub-command for each corpus."""

import argparse
from time import perf_counter

from recbole_sibrar.convert import amazon_vg, ml_1m, onion, table
from recbole_sibrar.convert.encoders import MODELS, Encode
from recbole_sibrar.data.tables import MISSING
from recbole_sibrar.errors import OptionError

EXAMPLE = """\
examples:
  recbole-sibrar convert ml-1m --raw ml-1m --item-vectors plot=plot_minilm.npz poster=poster_efficientnet.npz
  recbole-sibrar convert onion --raw onion
  recbole-sibrar convert amazon-vg --raw amazon-vg --item-vectors text=text.npz image=image.npz
  recbole-sibrar convert table --name shop --interactions orders.csv --items products.csv --item-vectors text=text.npy
"""
REPLACED = "A data set that a conversion made is replaced, whole or not at all; any other folder is left alone."


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
    _add_onion(corpora)
    _add_amazon_vg(corpora)
    _add_table(corpora)


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


def _add_encoders(parser):
    group = parser.add_argument_group("encoders", "need pip install 'recbole-sibrar[encoders]'")
    group.add_argument(
        "--encode", nargs="+", default=[], metavar="NAME=KIND",
        help="make vectors of the items' text of this name, or of pictures: plot=text poster=image; "
        "items with a vector from --item-vectors are left as they are",
    )  # fmt: skip
    for kind, model in MODELS.items():
        group.add_argument(
            f"--{kind}-model", default=model, metavar="MODEL", help="a name on the Hugging Face hub or a folder "
            "(default: %(default)s)",
        )  # fmt: skip
    group.add_argument("--images", metavar="DIR", help="the pictures, <item id>.jpg, .png or .webp")
    group.add_argument("--encode-batch-size", type=int, default=32, metavar="N", help="default: %(default)s")


def _encode(arguments):
    kinds = pairs(arguments.encode, "--encode", "plot=text", "kind")
    if not kinds:
        return None
    return Encode(
        kinds, arguments.output, arguments.text_model, arguments.image_model, arguments.images,
        arguments.encode_batch_size, arguments.float16,
    )  # fmt: skip


def _add_ml_1m(corpora):
    def convert(arguments):
        return ml_1m.convert(
            arguments.raw,
            arguments.output,
            min_rating=arguments.min_rating,
            ages=arguments.ages,
            k=arguments.k_core,
            require=arguments.require,
            plots=arguments.plots,
            item_vectors=pairs(arguments.item_vectors, "--item-vectors", "plot=plot_minilm.npz"),
            name=arguments.name,
            half=arguments.float16,
            encode=_encode(arguments),
        )

    parser = _add(
        corpora, "ml-1m", "MovieLens 1M", "Convert the official ratings.dat, users.dat and movies.dat.", convert, 5
    )
    parser.add_argument("--min-rating", type=float, default=3, help="keep ratings from here on (default: %(default)s)")
    parser.add_argument(
        "--require", nargs="+", default=[], metavar="FEATURE", help="drop items without genres, year, plot or a vector"
    )
    parser.add_argument(
        "--ages", type=int, nargs=2, metavar=("FIRST", "LAST"),
        help="drop users of other ages; an age is the first year of its group: 1 18 25 35 45 50 56 (default: all)",
    )  # fmt: skip
    parser.add_argument("--plots", metavar="FILE", help="table movie_id, plot (default: plots.tsv in --raw)")
    _add_item_vectors(parser)
    _add_encoders(parser)


def _add_onion(corpora):
    def convert(arguments):
        features = arguments.features
        return onion.convert(
            arguments.raw,
            arguments.output,
            year=arguments.year,
            min_plays=arguments.min_plays,
            k=arguments.k_core,
            features=None if features is None else pairs(features, "--features", "lyrics=id_lyrics_bert.tsv.bz2"),
            users=arguments.users,
            require=arguments.require,
            name=arguments.name,
            half=arguments.float16,
        )

    description = "Convert the listening events, the feature tables and LFM-2b's users.tsv, plain or bzip2."
    parser = _add(corpora, "onion", "Music4All-Onion", description, convert, 5)
    parser.add_argument("--year", type=int, default=2018, help="of the events; 0 takes all (default: %(default)s)")
    parser.add_argument(
        "--min-plays", type=int, default=2, metavar="N", help="in that year, by one user (default: %(default)s)"
    )
    defaults = ", ".join(f"{name}={file}" for name, file in onion.FEATURES.items())
    parser.add_argument(
        "--features", nargs="*", metavar="NAME=FILE", help=f"tables of vectors (default: those there are of {defaults})"
    )
    parser.add_argument("--users", metavar="FILE", help="user_id, country, age, gender (default: users.tsv in --raw)")
    parser.add_argument(
        "--require", nargs="*", metavar="FEATURE",
        help="drop users and tracks without these (default: gender, country, genres and all vectors; empty: none)",
    )  # fmt: skip


def _add_amazon_vg(corpora):
    def convert(arguments):
        return amazon_vg.convert(
            arguments.raw,
            arguments.output,
            years=arguments.years,
            verified=not arguments.unverified,
            k=arguments.k_core,
            require=arguments.require,
            item_vectors=pairs(arguments.item_vectors, "--item-vectors", "text=text.npz"),
            name=arguments.name,
            half=arguments.float16,
            encode=_encode(arguments),
        )

    description = "Convert the reviews and the metadata of the edition 2023 or 2018, plain, gzip or bzip2."
    parser = _add(corpora, "amazon-vg", "Amazon Video Games", description, convert, 5)
    parser.add_argument(
        "--years", type=int, nargs=2, default=(2016, 2019), metavar=("FIRST", "LAST"), help="default: 2016 2019"
    )
    parser.add_argument("--unverified", action="store_true", help="keep reviews that are no verified purchase too")
    parser.add_argument(
        "--require", nargs="*", metavar="FEATURE",
        help="drop items without these (default: title description image_url; empty: none)",
    )  # fmt: skip
    _add_item_vectors(parser)
    _add_encoders(parser)


def _add_table(corpora):
    def convert(arguments):
        minimum = pairs(arguments.min, "--min", "rating=3", "number")
        try:
            minimum = {column: float(value) for column, value in minimum.items()}
        except ValueError as error:
            raise OptionError(f"--min: {error}; expected a number, for example rating=3.") from None
        return table.convert(
            arguments.name,
            arguments.output,
            arguments.interactions,
            arguments.users,
            arguments.items,
            arguments.user_column,
            arguments.item_column,
            pairs(arguments.user_modalities, "--user-modalities", "age=number", "kind"),
            pairs(arguments.item_modalities, "--item-modalities", "genres=tags", "kind"),
            pairs(arguments.user_vectors, "--user-vectors", "face=face.npz"),
            pairs(arguments.item_vectors, "--item-vectors", "text=text.npz"),
            arguments.tag_separator,
            minimum,
            arguments.k_core,
            arguments.require,
            arguments.float16,
            _encode(arguments),
            arguments.missing,
        )

    description = "Convert tables of your own: csv, tsv (also .gz, .bz2) or parquet, each with a header."
    parser = _add(corpora, "table", "any data set", description, convert, 0)
    parser.add_argument("--name", required=True, help="of the data set")
    parser.add_argument("--interactions", required=True, metavar="FILE", help="a user and an item in each row")
    parser.add_argument("--users", metavar="FILE", help="a user in each row, with features")
    parser.add_argument("--items", metavar="FILE", help="an item in each row, with features")
    for side, example in (("user", "age=number"), ("item", "genres=tags")):
        parser.add_argument(f"--{side}-column", default=f"{side}_id", metavar="COLUMN", help="default: %(default)s")
        parser.add_argument(
            f"--{side}-modalities", nargs="+", default=[], metavar="COLUMN=KIND",
            help=f"tags, category, number or text, where the guess is wrong, e.g. {example}",
        )  # fmt: skip
    parser.add_argument("--tag-separator", default="|", metavar="TEXT", help="in a cell of tags (default: %(default)s)")
    parser.add_argument(
        "--missing", nargs="*", metavar="TEXT", help="in features, beside the empty cell (default: "
        f"{' '.join(MISSING)}; empty: none)",
    )  # fmt: skip
    parser.add_argument("--min", nargs="+", default=[], metavar="COLUMN=NUMBER", help="keep interactions from here on")
    parser.add_argument(
        "--require", nargs="+", default=[], metavar="FEATURE", help="drop users and items without these"
    )
    parser.add_argument(
        "--user-vectors", nargs="+", default=[], metavar="NAME=FILE", help="embeddings with ids, of the users"
    )
    _add_item_vectors(parser)
    _add_encoders(parser)


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
