"""What this machine must be for the other tests here to mean anything."""
import socket
import threading


def test_loopback_carries_data_both_ways_and_keeps_a_half_close():
    with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as server:
        server.bind((socket.VMADDR_CID_ANY, 5000))
        server.listen(8)
        seen = []

        def serve():
            connection, address = server.accept()
            with connection:
                seen.append(address)
                data = b""
                while piece := connection.recv(4096):
                    data += piece
                connection.sendall(data[::-1])

        thread = threading.Thread(target=serve)
        thread.start()
        with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as client:
            client.connect((1, 5000))
            client.sendall(b"abc")
            client.shutdown(socket.SHUT_WR)
            assert client.recv(100) == b"cba"
        thread.join()
    assert seen[0][0] == 1
