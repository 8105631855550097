"""Uses that no rule decides: held, asked, kept, taken back (S3 III-F)."""
