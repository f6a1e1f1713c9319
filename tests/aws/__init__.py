"""An acceptance test on a real AWS account, for people who have one: make test-aws. Nothing else runs it on AWS."""
