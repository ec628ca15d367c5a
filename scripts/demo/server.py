"""The web servers of the demo's internet: HTTP on port 80 and HTTPS on port 443 of each address.

    server.py CERTIFICATE KEY LOG UPLOADS ADDRESS...

Writes one JSON object a connection to LOG, when it ends: which address, how many bytes came (as the
kernel counted them), and what was asked. What is posted goes to UPLOADS as it came. Prints "ready"
when it listens."""

import json
import socket
import ssl
import struct
import sys
import threading

SECONDS = 5
# include/uapi/linux/tcp.h: struct tcp_info, tcpi_bytes_received.
TCP_INFO_BYTES, TCP_INFO_RECEIVED = 136, 128


def main():
    certificate, key, log, uploads, *addresses = sys.argv[1:]
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    with (
        open(log, "a", buffering=1, encoding="utf-8") as records,
        open(uploads, "ab", buffering=0) as uploads,
    ):
        threads = []
        for address in addresses:
            for port, context in ((80, None), (443, tls)):
                listener = listen(address, port)
                work = (listener, address, port, context, records, uploads)
                threads.append(threading.Thread(target=accept, args=work))
        for thread in threads:
            thread.start()
        print("ready", flush=True)
        for thread in threads:
            thread.join()


def listen(address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(64)
    return listener


def accept(listener, address, port, tls, records, uploads):
    while True:
        connection, _ = listener.accept()
        work = (connection, address, port, tls, records, uploads)
        threading.Thread(target=serve, args=work, daemon=True).start()


def serve(connection, address, port, tls, records, uploads):
    record = {"address": address, "port": port}
    raw = socket.socket(fileno=socket.dup(connection.fileno()))
    connection.settimeout(SECONDS)
    try:
        if tls:
            connection = tls.wrap_socket(connection, server_side=True)
        record |= answer(connection, uploads)
    except (OSError, ValueError, IndexError) as error:
        record["error"] = str(error)
    info = raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
    record["bytes"] = struct.unpack_from("=Q", info, TCP_INFO_RECEIVED)[0]
    records.write(json.dumps(record) + "\n")
    connection.close()
    raw.close()


def answer(connection, uploads):
    """Reads one request, answers it, and says what it was."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += more(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    request, *lines = head.decode().split("\r\n")
    fields = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in fields}
    while len(body) < int(headers.get("content-length", 0)):
        body += more(connection)
    method, path, _ = request.split(" ", 2)
    if method == "POST":
        uploads.write(head + b"\r\n\r\n" + body)
    if path == "/generate_204":
        connection.sendall(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
    else:
        page = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n"
        connection.sendall(page)
    return {
        "host": headers.get("host"),
        "request": f"{method} {path}",
    }


def more(connection):
    data = connection.recv(65536)
    if not data:
        raise ValueError("the connection ended in the middle of a request")
    return data


if __name__ == "__main__":
    main()
