"""SiBraR and MuBraR for RecBole: multimodal recommendation that keeps working when data is missing.

Importing the package registers the models with RecBole (``recbole_plugin.touchpoints``).
"""

__version__ = "0.1.0"

from recbole_sibrar.recbole_plugin.touchpoints import register

register()
