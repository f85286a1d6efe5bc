"""Organisation and data keys; only wrapped bytes reach the database."""
