"""The configuration: from a YAML file to typed options, with all problems in one error."""
