# syntax=docker/dockerfile:1
# The appliance without the lab. DHCP broadcasts do not cross Docker's bridge: run it with the host's network.
#   docker build -t provisioner . && docker run --network host --cap-drop ALL --cap-add NET_BIND_SERVICE \
#     --cap-add NET_RAW -v provisioner:/var/lib/provisioner provisioner serve --interface eth1
FROM debian:12-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends git make python3 python3-venv libcap2-bin \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/provisioner
COPY . .
RUN .setup/setup.sh runtime && rm -rf .cache

FROM debian:12-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates iproute2 libcap2-bin python3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --home-dir /var/lib/provisioner --create-home provisioner
COPY --from=build /opt/provisioner /opt/provisioner
# A non-root process gets its two capabilities through the interpreter's file, a copy that nothing else uses.
RUN cp --remove-destination "$(readlink -f /usr/bin/python3)" /opt/provisioner/.venv/bin/python3 \
    && setcap cap_net_bind_service,cap_net_raw+ep /opt/provisioner/.venv/bin/python3 \
    && ln -s /opt/provisioner/.venv/bin/provisioner /usr/local/bin/provisioner
USER provisioner
VOLUME /var/lib/provisioner
EXPOSE 67/udp 69/udp 80 8080 8081
HEALTHCHECK --interval=30s --timeout=5s CMD ["/opt/provisioner/.venv/bin/python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/healthz', timeout=4)"]
ENTRYPOINT ["provisioner"]
CMD ["serve"]
