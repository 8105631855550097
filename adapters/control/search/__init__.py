"""``/search/…``: SPARQL, JSONPath and XPath over HTTP."""
