"""From a project to a job on a node: source, upload, submission, following, and the pages that a job serves."""
