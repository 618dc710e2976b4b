"""From a YAML file to typed options, every problem in one report."""
