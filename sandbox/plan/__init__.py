"""What will be run: bound terms, blocks and their canonical form."""
