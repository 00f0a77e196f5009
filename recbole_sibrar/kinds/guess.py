"""Which kind a column of texts looks most like."""

import pandas as pd

from recbole_sibrar.kinds import KINDS
from recbole_sibrar.kinds.number import written_otherwise
from recbole_sibrar.kinds.tags import other_separator

TEXT = "text"
"""What a column is that no kind reads."""

MAX_CATEGORY_SHARE = 0.5
MAX_CATEGORY_LENGTH = 40
OBJECT = r"""\[?\s*\{\s*['"][^'"]*['"]\s*:"""


def guess_kind(column: pd.Series, tag_separator: str) -> str:
    """The kind that a column of texts, "" if missing, looks most like; a text if it is long or mostly unique.

    >>> guess_kind(pd.Series(["1994", "", "2001"]), "|"), guess_kind(pd.Series(["a|b", "a"]), "|")
    ('number', 'tags')
    >>> guess_kind(pd.Series(["F", "M", "F", "F"]), "|"), guess_kind(pd.Series(["Heat", "Leon", "Toy Story"]), "|")
    ('category', 'text')
    """
    values = column[column != ""]
    fits = {name: kind.fits(values, tag_separator) for name, kind in KINDS.items()}
    is_long = values.str.len().max() > MAX_CATEGORY_LENGTH
    fits[TEXT] = 0.6 if is_long or values.nunique() > MAX_CATEGORY_SHARE * len(values) else 0.0
    return max(fits, key=lambda name: fits[name])


def doubts(column: pd.Series) -> str:
    r"""What else the texts of a column, "" if missing, may be, and how to say so.

    >>> doubts(pd.Series(['[{"name": "Drama"}]', "[]"]))
    '; objects, such as \'[{"name": "Drama"}]\'? Keep what counts of them, such as their names as tags'
    """
    objects = column[column.str.match(OBJECT)]
    if 2 * len(objects) > (column.str.len() > 2).sum():
        return f"; objects, such as {objects.iloc[0]!r:.40}? Keep what counts of them, such as their names as tags"
    if otherwise := written_otherwise(column):
        return f"; {otherwise}"
    if separator := other_separator(column):
        return f"; tags with {separator!r} between them? Then --tag-separator (tag_separator) is {separator!r}"
    return ""


def spelled_in_two_ways(column: pd.Series, separator: str | None) -> str:
    """Words on two values that differ in case alone.

    Args:
        separator: of tags; None for categories.
    """
    values = column if separator is None else column.str.split(separator, regex=False).explode()
    texts, seen = values.drop_duplicates().str.split().str.join(" "), dict[str, str]()
    for text in texts.drop_duplicates():
        if (other := seen.setdefault(text.casefold(), text)) != text:
            what = "categories" if separator is None else "tags"
            return f"; {other!r:.40} and {text!r:.40} are two {what}"
    return ""
