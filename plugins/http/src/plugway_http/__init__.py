"""HTTP for gateways: `plugway_http.server` and `plugway_http.client`; see the README."""
