"""ClientHellos as bytes: OpenSSL's own, and ones that no library sends; and a TLS client whose bytes pass through our hands."""
import ssl
import struct


def context(authority=None, **settings):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # the system's authorities take longer to read than most tests do
    if authority is None:
        made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    else:
        made.load_verify_locations(authority.file)
    for name, value in settings.items():
        getattr(made, name)(value)
    return made


def client_hello(name, made=None):
    """What OpenSSL sends first."""
    outgoing = ssl.MemoryBIO()
    tls = (made or context()).wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def _vector(width, data):
    return len(data).to_bytes(width, "big") + data


def hello_with(extensions):
    """A hello in one record, with these extensions: [(type, body)]."""
    block = b"".join(struct.pack(">H", kind) + _vector(2, body) for kind, body in extensions)
    body = b"\x03\x03" + bytes(32) + _vector(1, b"") + _vector(2, b"\x13\x01") + _vector(1, b"\0") + _vector(2, block)
    return b"\x16\x03\x01" + _vector(2, b"\x01" + _vector(3, body))


def server_name(name):
    """The extension, for a name of any bytes."""
    return 0, _vector(2, b"\0" + _vector(2, name))


class Client:
    """TLS over a connected socket, its bytes sent by `send`."""

    def __init__(self, connection, made, name, send=None):
        self.connection, self.send = connection, send or connection.sendall
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = made.wrap_bio(self.incoming, self.outgoing, server_hostname=name)

    def _run(self, action, *arguments):
        while True:
            try:
                result = action(*arguments)
            except ssl.SSLWantReadError:
                result = None
            if pending := self.outgoing.read():
                self.send(pending)
            if result is not None:
                return result
            if piece := self.connection.recv(65536):
                self.incoming.write(piece)
            else:
                self.incoming.write_eof()

    def handshake(self):
        self._run(lambda: self.tls.do_handshake() or True)
        return self

    def exchange(self, request):
        self._run(self.tls.write, request)
        return self._run(self.tls.read, 65536)
