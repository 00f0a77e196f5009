"""After training: recommendations for known, warm and brand-new users and items. No RecBole in here."""
