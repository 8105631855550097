"""What is registered as RDF: an index that is derived, and can be built again at any time."""
