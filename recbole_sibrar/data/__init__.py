"""From atomic files to modalities with an availability mask, scenario splits, and negatives. No RecBole in here."""
