"""What exists? Names, the model of microservices, the change log's vocabulary and the catalog."""

OWNER = "hilum"
