#!/bin/sh
# Makes the stubs in gen/ from the proto files of this repository; no network, no schema registry.
set -eu
cd "$(dirname "$0")"
rm -rf gen
mkdir gen
.venv/bin/python -m grpc_tools.protoc -I ../../proto -I ../../third_party/protovalidate \
    --python_out=gen --pyi_out=gen --grpc_python_out=gen signerd/v1/signer.proto buf/validate/validate.proto
