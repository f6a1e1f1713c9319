"""Commands for the account and this computer: check, cost, init, local, policy, sweep."""
