"""Writes a key in every way in which an honest upstream may show it again, as JSON: `spellings.py KEY`.

What comes out for one key is kept in tests/golden/spellings.json; the broker has to mask all of it.
"""

import base64
import binascii
import html
import json
import quopri
import shlex
import sys
import textwrap
import urllib.parse
from xml.sax.saxutils import quoteattr

key = sys.argv[1]
raw = key.encode()
special = [c for c in key if not c.isalnum()]


def each(write, only=lambda c: not c.isalnum()):
    """The key with some of its characters written in another way."""
    return "".join(write(c) if only(c) else c for c in key)


def b64(data, url=False):
    return (base64.urlsafe_b64encode if url else base64.b64encode)(data).decode()


def wrapped(width, data, end="\n"):
    text = b64(data)
    return end.join(text[at : at + width] for at in range(0, len(text), width))


blob = b'{"user":"ana","key":"' + raw + b'","more":"' + b"x" * 40 + b'"}'
every = lambda c: True
spellings = {
    "as it is": key,
    "JSON": json.dumps(key),
    "JSON with slashes escaped (PHP)": json.dumps(key).replace("/", "\\/"),
    "JSON with numbers for HTML's characters (Go)": json.dumps(key).replace("&", "\\u0026"),
    "JSON with numbers for all special characters": '"' + each(lambda c: f"\\u{ord(c):04x}") + '"',
    "the same in capitals": '"' + each(lambda c: f"\\u{ord(c):04X}") + '"',
    "JSON with numbers for every character": '"' + each(lambda c: f"\\u{ord(c):04x}", every) + '"',
    "JSON in JSON": json.dumps(json.dumps({"key": key})),
    "JSON with slashes escaped in JSON": json.dumps(json.dumps(key).replace("/", "\\/")),
    "JavaScript, in hex": each(lambda c: f"\\x{ord(c):02x}"),
    "JavaScript, by code point": each(lambda c: f"\\u{{{ord(c):x}}}"),
    "C, in octal": each(lambda c: f"\\{ord(c):03o}"),
    "Python, every byte in hex": each(lambda c: f"\\x{ord(c):02x}", every),
    "Python, long numbers": each(lambda c: f"\\U{ord(c):08x}"),
    "a shell, quoted": shlex.quote(key),
    "a shell, with backslashes": each(lambda c: f"\\{c}"),
    "LDAP": each(lambda c: f"\\{ord(c):02x}"),
    "a URL's path (Python quote)": urllib.parse.quote(key),
    "a URL's part (encodeURIComponent)": urllib.parse.quote(key, safe="!~*'()"),
    "a form": urllib.parse.quote_plus(key),
    "percent in small letters": each(lambda c: f"%{ord(c):02x}"),
    "percent for every character": each(lambda c: f"%{ord(c):02X}", every),
    "percent twice": urllib.parse.quote(urllib.parse.quote(key, safe="")),
    "percent with u (escape)": each(lambda c: f"%u{ord(c):04X}"),
    "in a query": "https://a.example/?key=" + urllib.parse.quote(key, safe="") + "&page=1",
    "HTML": html.escape(key),
    "HTML, all special characters in hex": each(lambda c: f"&#x{ord(c):X};"),
    "HTML, all special characters in decimal": each(lambda c: f"&#{ord(c)};"),
    "HTML, with leading zeros": each(lambda c: f"&#{ord(c):05};"),
    "HTML, by name": key.replace("&", "&amp;")
    .replace("/", "&sol;")
    .replace("+", "&plus;")
    .replace("=", "&equals;")
    .replace("'", "&apos;"),
    "HTML twice": html.escape(html.escape(key)),
    "an attribute of XML": quoteattr(key),
    "quoted-printable": quopri.encodestring(b"x" * 62 + raw).decode(),
    "quoted-printable, every byte": "".join(f"={byte:02X}" for byte in raw),
    "hex": raw.hex(),
    "hex in capitals": raw.hex().upper(),
    "hex with colons": binascii.hexlify(raw, ":").decode(),
    "a list of numbers in hex": ", ".join(f"0x{byte:02x}" for byte in raw),
    "a list of numbers (Python)": str(list(raw)),
    "a buffer of Node": json.dumps({"type": "Buffer", "data": list(raw)}),
    "base64": b64(raw),
    "base64 for URLs, without padding": b64(raw, url=True).rstrip("="),
    "base64 of `Basic`": "Basic " + b64(b"x-access-token:" + raw),
    "base64 of a larger text": b64(blob),
    "base64 of a larger text, one further": b64(b"x" + blob),
    "base64 of a larger text, two further": b64(b"xy" + blob),
    "base64 for URLs of a larger text": b64(b"xy" + blob, url=True),
    "base64 in lines of 76": wrapped(76, b"x" * 50 + raw),
    "base64 in lines of 64": wrapped(64, b"x" * 40 + raw, "\r\n"),
    "base64 in lines of 60, indented": textwrap.indent(wrapped(60, b"x" * 37 + raw), "    "),
    "base64 in lines of 4": wrapped(4, raw),
    "base64 in lines, in JSON": json.dumps(wrapped(64, b"x" * 41 + raw)),
    "base64 in JSON with slashes escaped": json.dumps(b64(b"xy" + blob)).replace("/", "\\/"),
    "base64 in a URL": urllib.parse.quote(b64(b"xy" + raw), safe=""),
    "base64 of JSON with slashes escaped": b64(json.dumps({"key": key}).replace("/", "\\/").encode()),
    "base64 of UTF-16": b64(key.encode("utf-16-le")),
    "UTF-16": key.encode("utf-16-le").decode("latin-1"),
}
json.dump(spellings, sys.stdout, indent=1)
print()
