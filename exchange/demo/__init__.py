"""People, data and exchanges that `./bonded demo` puts into a new node."""
