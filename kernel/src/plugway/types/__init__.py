"""What travels: requests, replies, events, errors. Imports nothing of the other packages."""
