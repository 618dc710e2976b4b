"""Scripts of the repository; they are not installed."""
