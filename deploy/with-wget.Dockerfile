# An image that has neither shell nor wget, with the one program that its health check needs.
ARG IMAGE
FROM busybox:1.37.0-musl AS busybox

FROM ${IMAGE}
COPY --from=busybox /bin/busybox /bin/wget
