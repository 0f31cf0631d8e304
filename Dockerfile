# One image for operator, controller and speaker: the static binary and nothing else.
# `make image` builds bin/metallb first.
FROM scratch
COPY bin/metallb /metallb
USER 65534:65534
ENTRYPOINT ["/metallb"]
