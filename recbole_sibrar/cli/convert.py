"""The ``convert`` command: a sub-command for each corpus."""

import argparse
from collections.abc import Callable
from time import perf_counter

from recbole_sibrar.cli.hints import tell_next
from recbole_sibrar.convert import amazon_vg, ml_1m, onion, own_tables
from recbole_sibrar.convert.corpus import Corpus
from recbole_sibrar.data.atomic import has_rows
from recbole_sibrar.errors import as_typed

CORPORA = (ml_1m.CORPUS, onion.CORPUS, amazon_vg.CORPUS, own_tables.CORPUS)

EXAMPLE = """\
examples:
  recbole-sibrar convert ml-1m --raw ml-1m --item-vectors plot=plot_minilm.npz poster=poster_efficientnet.npz
  recbole-sibrar convert onion --raw onion
  recbole-sibrar convert amazon-vg --raw amazon-vg --item-vectors text=text.npz image=image.npz
  recbole-sibrar convert table --name shop --interactions orders.csv --items products.csv --item-vectors text=text.npy
"""
REPLACED = "A data set that a conversion made is replaced, whole or not at all; any other folder is left alone."


def add_convert_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``convert`` to the command line; each corpus sets the handler that is called with the arguments."""
    convert = commands.add_parser(
        "convert",
        help="write a corpus as RecBole atomic files",
        description="Write a corpus, with its side features, as RecBole atomic files.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    corpora = convert.add_subparsers(dest="corpus", metavar="CORPUS", required=True)
    for corpus in CORPORA:
        parser = corpora.add_parser(corpus.name, help=corpus.help, description=f"{corpus.description} {REPLACED}")
        corpus.add_to(parser)
        parser.set_defaults(handler=_handler(corpus))


def _handler(corpus: Corpus) -> Callable[[argparse.Namespace], int]:
    def handle(arguments: argparse.Namespace) -> int:
        start = perf_counter()
        folder = corpus.run(arguments)
        print(f"written to {folder} in {perf_counter() - start:.0f} s")
        if has_rows(folder / f"{folder.name}.inter"):
            options = ("--model=SiBraR", f"--dataset={folder.name}", f"--data_path={folder.parent}")
            tell_next(as_typed("run", *options))
        else:
            tell_next(as_typed("recommend", "--dataset", folder, "--history", "ITEM"))
        return 0

    return handle
