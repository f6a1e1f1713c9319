"""What can be launched and what it costs: instance types, prices and quotas. Changes nothing."""
