"""What any program needs and no library brings: locks, waiting, parallel calls, safe text, safe folders. Knows no cluster."""
