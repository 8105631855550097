"""Who is it: tokens, passwords, certificates and their claims, verified without effects."""
