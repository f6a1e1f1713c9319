"""Whether things are as they should be: the account, a cluster, and a report for whoever looks into a bug."""
