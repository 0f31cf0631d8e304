# The file-based catalog alone: OLM serves it with its own opm (spec.grpcPodConfig.extractContent, see docs/olm.md).
FROM scratch
COPY catalog /configs/
LABEL operators.operatorframework.io.index.configs.v1=/configs
