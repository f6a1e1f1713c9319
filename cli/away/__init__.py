"""Jobs that are sent away: to machines that need neither this computer nor a controller."""
