"""Web pages on a node's loopback interface: JupyterLab and TensorBoard."""
