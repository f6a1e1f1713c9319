"""Jobs as their machines uploaded them to a bucket: found, decoded and checked, as nothing there is trusted."""
