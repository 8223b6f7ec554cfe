//! Compiles Istio's protobufs, and writes one descriptor set of them and Envoy's.

#![allow(clippy::disallowed_methods)] // Cargo hands a build script its arguments by environment.

use std::collections::HashSet;
use std::error::Error;
use std::path::{Path, PathBuf};

use prost::Message;
use prost_reflect::DescriptorPool;
use prost_reflect::prost_types::FileDescriptorSet;

/// Ours, relative to `proto/`.
const PROTOS: [&str; 12] = [
    "istio/alpn.proto",
    "istio/authorization.proto",
    "istio/ca.proto",
    "istio/metadata_exchange.proto",
    "istio/nds.proto",
    "istio/peer_metadata.proto",
    "istio/proxy_config.proto",
    "istio/stats.proto",
    "istio/workload.proto",
    "lateen/config_report.proto",
    "udpa/type/v1/typed_struct.proto",
    "xds/type/v3/typed_struct.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=../Cargo.lock");
    let ours = protox::compile(PROTOS, ["proto"])?;
    generate(ours.clone())?;

    let path = envoy_descriptors()?;
    println!("cargo:rerun-if-changed={}", path.display());
    let envoys = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let merged = merge(FileDescriptorSet::decode(envoys.as_slice())?, ours);
    // A set that does not link would only fail at run time.
    DescriptorPool::from_file_descriptor_set(merged.clone())?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    std::fs::write(out.join("descriptors.bin"), merged.encode_to_vec())?;
    Ok(())
}

/// Rust code for our protobufs. Google's well-known types are those of Envoy's messages, so that
/// an `Any` or `Struct` is one type everywhere.
fn generate(ours: FileDescriptorSet) -> Result<(), Box<dyn Error>> {
    let mut config = tonic_prost_build::Config::new();
    config.enable_type_names();
    config.type_name_domain(["."], "type.googleapis.com");
    config.btree_map(["."]);
    tonic_prost_build::configure()
        .build_transport(false)
        .compile_well_known_types(true)
        .extern_path(".google.protobuf", "crate::envoy::protobuf")
        .compile_fds_with_config(ours, config)?;
    Ok(())
}

/// The descriptor set that the `envoy-types` crate ships beside its generated code.
fn envoy_descriptors() -> Result<PathBuf, Box<dyn Error>> {
    let target = std::env::var("TARGET")?;
    let metadata = cargo_metadata::MetadataCommand::new()
        .manifest_path(Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("Cargo.toml"))
        // Other platforms' packages need not be on this machine.
        .other_options(["--filter-platform".to_owned(), target])
        .exec()?;
    let package = metadata
        .packages
        .iter()
        .find(|package| package.name.as_str() == "envoy-types")
        .ok_or("envoy-types is not among the dependencies")?;
    let root = package.manifest_path.parent().ok_or("envoy-types has no directory")?;
    Ok(root.join("src/generated/types.bin").into_std_path_buf())
}

/// One set with each file once, without comments, which are most of Envoy's bytes.
fn merge(envoys: FileDescriptorSet, ours: FileDescriptorSet) -> FileDescriptorSet {
    let mut seen = HashSet::new();
    let mut file: Vec<_> = envoys
        .file
        .into_iter()
        .chain(ours.file)
        .filter(|file| seen.insert(file.name().to_owned()))
        .collect();
    for descriptor in &mut file {
        descriptor.source_code_info = None;
    }
    FileDescriptorSet { file }
}
