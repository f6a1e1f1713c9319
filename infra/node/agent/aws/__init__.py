"""AWS's services by the standard library: signed requests, the machine's credentials, S3."""
