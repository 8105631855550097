"""llhttp, through httptools: the only file that imports it."""

from httptools import (
    HttpParserError,
    HttpParserUpgrade,
    HttpRequestParser,
    HttpResponseParser,
)

__all__ = ["HttpParserError", "HttpParserUpgrade", "HttpRequestParser", "HttpResponseParser"]
