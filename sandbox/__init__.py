"""The sealed sandbox: the only holder of rows in clear. No Django, no network."""
