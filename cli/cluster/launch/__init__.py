"""The parts of `up`: options about the network, the list of GPUs, the plan."""
