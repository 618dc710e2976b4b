"""The exchange: one request and its reply, from intake to outcome."""
