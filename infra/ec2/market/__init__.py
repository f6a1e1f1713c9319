"""Instance types, prices and quotas; changes nothing."""
