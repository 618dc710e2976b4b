"""In: the socket, who may speak, routes, and the swap of one configuration for the next."""
