# syntax=docker/dockerfile:1
# The Debian package on a slim Debian. DHCP broadcasts do not cross Docker's bridge (docs/network.md):
#   docker build -t provisioner . && docker run --network host --cap-drop ALL --cap-add NET_BIND_SERVICE \
#     --cap-add NET_RAW -v provisioner:/var/lib/provisioner provisioner serve --interface eth1
FROM debian:12-slim AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends git make python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN make deb

FROM debian:12-slim
COPY --from=build /src/build/provisioner_*.deb /tmp/
# A process that is not root gets its two capabilities by the interpreter's file: a copy that nothing else uses.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libcap2-bin /tmp/provisioner_*.deb \
    && cp --remove-destination "$(readlink -f /usr/bin/python3)" /usr/lib/provisioner/bin/python3 \
    && setcap cap_net_bind_service,cap_net_raw+ep /usr/lib/provisioner/bin/python3 \
    && rm -rf /var/lib/apt/lists/* /tmp/provisioner_*.deb
USER provisioner
VOLUME /var/lib/provisioner
EXPOSE 67/udp 69/udp 80 8080 8081
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s \
    CMD ["/usr/bin/python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/healthz', timeout=4)"]
ENTRYPOINT ["provisioner"]
CMD ["serve"]
