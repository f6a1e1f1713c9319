"""Jobs in a bucket: found, decoded and checked, as nothing there is trusted."""
