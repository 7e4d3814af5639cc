// Pins the release that third_party/protovalidate is copied from; nothing here is compiled.
module github.com/signerd/signerd/tools/protovalidate

go 1.26

require github.com/bufbuild/protovalidate v1.2.2
