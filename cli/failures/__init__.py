"""Why a job failed, as far as the end of its log shows, and what to type next."""
