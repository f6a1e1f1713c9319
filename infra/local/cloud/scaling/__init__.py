"""Auto Scaling groups as AWS has them; moto's neither replace machines nor run scheduled actions."""
