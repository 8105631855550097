"""Search in the registry: SPARQL over the index, JSONPath and XPath over descriptions."""
