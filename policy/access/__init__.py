"""Who may do what: rules, roles and attributes, compiled to an index that decides."""
