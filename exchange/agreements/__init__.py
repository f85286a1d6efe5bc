"""Who may do what with an offer, decided: access requests and the grants they end in."""
