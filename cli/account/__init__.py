"""The commands about the account and this computer: check, cost, init, local, policy, sweep."""
