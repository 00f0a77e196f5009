"""SiBraR and MuBraR in plain PyTorch. No RecBole in here."""
