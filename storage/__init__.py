"""Where things are kept: evidence in an S3 store with Object Lock, records in SQL."""
