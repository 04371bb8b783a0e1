"""The page and the REST API of an index, for this machine.

    request -guard-> (host, origin, token, size) -api-> Index and the other folders -> JSON, JPEG
                                                 -pages-> HTML, of the templates of `showing`

`app` puts them together, `run` starts the server. Errors are problem details (RFC 9457), also for what nobody foresaw.
"""

__all__ = ["app", "run"]
