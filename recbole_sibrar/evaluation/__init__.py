"""The protocol (who is ranked against what) and the metrics. No RecBole in here."""
