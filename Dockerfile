# `plaudit serve` in a container: see "In a container" of docs/serving.md.
#
#   docker build -t plaudit .
#   docker run -p 127.0.0.1:8000:8000 -v "$PWD/runs/first:/model:ro" -e PLAUDIT_API_KEYS plaudit

FROM python:3.13-slim AS wheel
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.13-slim
# For GPUs build with --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128, of the CUDA there.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY constraints.txt /tmp/constraints.txt
COPY --from=wheel /wheels /tmp/wheels
# Of one version pip takes the build of that index (2.13.0+cpu), which goes before the plain one.
RUN pip install --no-cache-dir -c /tmp/constraints.txt --extra-index-url "$TORCH_INDEX" torch \
    && pip install --no-cache-dir -c /tmp/constraints.txt \
        "plaudit[serve] @ file://$(ls /tmp/wheels/plaudit-*.whl)" \
    && rm -r /tmp/wheels /tmp/constraints.txt

# It needs no rights and writes nothing but what it measured of this machine.
RUN useradd --create-home --uid 10001 plaudit
USER plaudit
WORKDIR /home/plaudit
ENV HF_HUB_DISABLE_TELEMETRY=1 PYTHONUNBUFFERED=1

EXPOSE 8000
# Ready, and not only alive: a model takes a while to load.
HEALTHCHECK --interval=10s --timeout=5s --start-period=300s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/ready', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["plaudit"]
CMD ["serve", "/model", "--host", "0.0.0.0"]
