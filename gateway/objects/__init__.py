"""The site's own objects: everything an operator or a service asks of the site is a Call."""
