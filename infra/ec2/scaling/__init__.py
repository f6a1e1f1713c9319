"""Auto Scaling groups, which keep a cluster's machines without this computer."""
