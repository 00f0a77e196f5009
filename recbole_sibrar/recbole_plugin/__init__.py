"""The only place that touches RecBole, which has to be installed to import anything from here."""

from recbole_sibrar.hook import load_recbole

load_recbole()
