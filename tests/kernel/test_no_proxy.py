"""NO_PROXY in the forms that the clients people know document."""

import pytest

from plugway_http.client.url import is_excepted

API, V4, V6 = "https://api.test", "http://8.8.8.8:81", "https://[2606:4700::1111]"

# curl: https://curl.se/libcurl/c/CURLOPT_NOPROXY.html
CURL = [
    ("ample.test", "https://ample.test", True),
    ("ample.test", "http://ample.test:80", True),
    ("ample.test", "https://www.ample.test", True),
    ("ample.test", "https://www.example.test", False),
    ("ample.test", "https://ample.test.org", False),
    ("*", API, True),
    ("*", V6, True),
    ("", API, False),
    ("example.test,2606:4700::1111,localhost", V6, True),
    ("8.8.0.0/16", V4, True),
    ("8.9.0.0/16", V4, False),
    ("2606:4700::/32", V6, True),
    ("2607::/32", V6, False),
    ("a.test b.test api.test", API, True),
    ("a.test, api.test", API, True),
]
# Go: https://pkg.go.dev/golang.org/x/net/http/httpproxy#Config
GO = [
    ("8.8.8.8", V4, True),
    ("8.8.8.8:81", V4, True),
    ("8.8.8.8:82", V4, False),
    ("8.8.8.8/8", V4, True),
    ("foo.test", "https://foo.test", True),
    ("foo.test", "https://bar.foo.test", True),
    (".y.test", "https://x.y.test", True),
    ("*.y.test", "https://x.y.test", True),
    ("*.y.test", "https://a.x.y.test", True),
    ("*.y.test", "https://y.test", False),
    ("api.test:443", API, True),
    ("api.test:80", API, False),
    ("api.test:80", "http://api.test", True),
    ("api.test:8443", "https://api.test:8443", True),
    ("test:443", API, True),
    ("[2606:4700::1111]:443", V6, True),
    ("[2606:4700::1111]:80", V6, False),
    ("a.test,*", API, True),
]
# httpx: https://www.python-httpx.org/environment_variables/
HTTPX = [
    ("http://api.test", API, False),
    ("https://api.test", API, True),
    ("https://api.test/", API, True),
    ("all://api.test", API, True),
    ("[2606:4700::1111]", V6, True),
]
# Not written down by all of them, and read as curl and Python's urllib read them.
OTHERS = [
    (".test", "https://test", True),
    ("API.Test", API, True),
    ("api.test", "https://API.TEST", True),
    ("api.test.", API, True),
    ("api.test", "https://api.test.", True),
    (".test.", "https://api.test.", True),
    ("  api.test  ", API, True),
    ("a.test\tapi.test\n", API, True),
    (",, ,api.test,", API, True),
    ("est", API, False),
    ("pi.test", API, False),
    ("api", API, False),
    ("api.*", API, False),
    ("8.8.8", V4, False),
    ("8.8.2056", V4, True),
    (".8.8", V4, False),
    ("8.8.8.8", "http://0x08080808", True),
    ("8.8.8.0/255.255.255.0", V4, True),
    ("[2606:4700::]/32", V6, True),
    ("2606:4700:0:0::1111", V6, True),
    ("::ffff:8.8.8.8", V4, True),
    ("8.8.8.8", "http://[::ffff:808:808]", True),
    ("*:443", API, True),
    ("*:80", API, False),
    ("*.", API, False),
    (".", API, False),
    (":443", API, False),
    ("[", API, False),
    ("api.test:port", API, False),
    ("8.8.8.8/99", V4, False),
    ("api.test:" + "4" * 5_000, API, False),
    ("::/0", V4, False),
    ("0.0.0.0/0", API, False),
]


@pytest.mark.parametrize(("no_proxy", "url", "excepted"), [*CURL, *GO, *HTTPX, *OTHERS])
def test_a_server_is_excepted_in_the_forms_of_other_clients(no_proxy, url, excepted):
    assert is_excepted(url, no_proxy) is excepted
