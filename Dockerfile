# One image for operator, controller and speaker: the static binary, the one for BGP sessions beside it, and nothing else.
# `make image` builds them first.
FROM scratch
COPY bin/metallb bin/metallb-bgp /
USER 65534:65534
ENTRYPOINT ["/metallb"]
