"""Settings from the environment, and the catalog: sites, feeds, zones, rules, devices in YAML."""
