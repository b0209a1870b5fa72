# Postern's daemon in an image that holds the daemon, posternctl, the libraries they link, and nothing else: no shell,
# no package manager, no root.
#
#   docker build -t postern .
#   docker run --rm -v ./postern.yaml:/etc/postern/postern.yaml:ro -v postern-spool:/var/lib/postern --network host \
#       --security-opt seccomp=profile-with-vsock.json postern
#
# What routes with `delivery: spool` have not delivered yet is in /var/lib/postern: give it a volume that outlives the
# container. Docker's default seccomp profile refuses AF_VSOCK sockets: give it one that allows them, or hand the listeners over
# from systemd. BASE is any Debian or Ubuntu.
ARG BASE=docker.io/library/debian:bookworm-slim

FROM ${BASE} AS build
WORKDIR /src
COPY scripts/bootstrap scripts/
RUN scripts/bootstrap build
COPY . .
RUN cmake -S . -B /build -G Ninja -DCMAKE_BUILD_TYPE=Release -DPOSTERN_TESTS=OFF && \
    cmake --build /build && \
    DESTDIR=/stage cmake --install /build --prefix /usr --strip
# What the programs load, by the paths they load it from, and the little of /etc that they read.
RUN set -e; mkdir -p /image/usr/bin /image/etc /image/run /image/tmp; \
    cp -a /stage/usr/bin/. /image/usr/bin/; \
    cp -a /stage/etc/. /image/etc/; \
    ldd /stage/usr/bin/posternd /stage/usr/bin/posternctl | grep -o '/[^ ]*\.so[^ ]*' | sort -u | \
        while read -r library; do cp --parents -L "$library" /image; done; \
    echo 'postern:x:10001:10001::/nonexistent:/nonexistent' >/image/etc/passwd; \
    echo 'postern:x:10001:' >/image/etc/group; \
    echo 'hosts: files dns' >/image/etc/nsswitch.conf; \
    install -d -o 10001 -g 10001 -m 750 /image/run/postern; \
    install -d -o 10001 -g 10001 -m 700 /image/var/lib/postern; \
    chmod 1777 /image/tmp

FROM scratch
COPY --from=build /image /
USER 10001:10001
STOPSIGNAL SIGTERM
EXPOSE 9464
VOLUME /var/lib/postern
ENTRYPOINT ["/usr/bin/posternd"]
CMD ["--config", "/etc/postern/postern.yaml"]
