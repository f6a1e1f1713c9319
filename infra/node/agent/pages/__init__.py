"""What a node serves on its loopback interface: JupyterLab and TensorBoard."""
