"""Running a project as a job: source, upload, submission, following, and the pages that a job serves."""
