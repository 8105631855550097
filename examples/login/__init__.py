"""A microservice that logs people in: it generates the policies that let them work."""
