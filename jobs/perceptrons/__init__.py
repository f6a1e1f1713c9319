"""From the perceptron to deep networks: Rosenblatt's rule, XOR, hidden layers and parity."""
