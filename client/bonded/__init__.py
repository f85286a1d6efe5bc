"""The model builder's client: find labelled data, ask, fetch, verify."""
