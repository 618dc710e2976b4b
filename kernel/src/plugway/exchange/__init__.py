"""Through: one request and its answer, from intake to outcome."""
