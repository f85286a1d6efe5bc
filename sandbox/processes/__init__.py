"""The daemon, its children, and what locks them down."""
