#!/bin/sh
# Makes the files of this folder anew (README.md says what they are). Needs root, Java 17, tcpdump,
# ethtool and Python 3; nothing leaves the network namespace that it makes for itself.
set -eu
cd "$(dirname "$0")"
[ "${1-}" = inside ] || exec unshare --net ./make.sh inside

java Uploads.java .
# So that requests are sent, and seen, in pieces.
ip link set lo mtu 400 up
ethtool --offload lo tso off gso off gro off
python3 - <<'END' &
from http.server import BaseHTTPRequestHandler, HTTPServer

class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while size := int(self.rfile.readline(), 16):
                self.rfile.read(size + 2)
            self.rfile.readline()
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"ok\n")

    def log_message(self, *_):
        pass

HTTPServer(("127.0.0.1", 80), Answer).serve_forever()
END
server=$!
tcpdump --immediate-mode -U -i lo -w uploads.pcap tcp port 80 2>/dev/null &
tcpdump=$!
sleep 1
java Uploads.java send 127.0.0.1
sleep 1
kill "$tcpdump" "$server"
