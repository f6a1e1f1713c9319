"""The code as it was uploaded: contents in a store, each job its own copy. Nothing of what a job writes."""
