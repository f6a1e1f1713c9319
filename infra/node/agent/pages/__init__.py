"""What a node serves on its loopback: JupyterLab and TensorBoard."""
