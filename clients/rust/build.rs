//! Generates the stubs from the repository's proto files. protox reads them: no protoc is needed.

const PROTO: &str = "../../proto";
const RULES: &str = "../../third_party/protovalidate"; // what the proto files import

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed={PROTO}");
    println!("cargo::rerun-if-changed={RULES}");
    let files = protox::compile(["signerd/v1/signer.proto"], [PROTO, RULES])?;
    // The server's half is for tests, which answer in signerd's place.
    tonic_prost_build::configure().compile_fds(files)?;
    Ok(())
}
