"""What there is: datasets, their immutable versions, their policies and offers."""
