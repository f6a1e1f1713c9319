"""The machine as a whole: what it does, how long it lives, and what ends it. Nothing about one job."""
