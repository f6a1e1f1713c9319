"""What several commands say: what still bills, what was not downloaded, whether AWS was asked."""
