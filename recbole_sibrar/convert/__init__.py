"""From raw corpora to RecBole atomic files: one file per corpus, one writer."""
