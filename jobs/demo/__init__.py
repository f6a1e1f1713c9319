"""One HTML page that runs a model in a browser, without a server and without a network."""
