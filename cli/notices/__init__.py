"""What several commands say: what still bills, what was not downloaded or uploaded, what may be claimed about AWS."""
