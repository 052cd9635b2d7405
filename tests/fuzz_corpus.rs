//! Everything that fuzzing has found worth keeping, and the seeds, once more through the targets.

use std::fs;
use std::path::Path;

use majordomo::fuzzing;

/// Runs `target` over every file of its corpus.
fn replay(name: &str, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let entries = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}; the corpus is missing", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files.retain(|file| {
        let input = fs::read(file).unwrap();
        std::panic::catch_unwind(|| target(&input)).is_err()
    });
    assert!(files.is_empty(), "these fail: {files:#?}");
}

#[test]
fn acl() {
    replay("acl", fuzzing::acl);
}

#[test]
fn curve_client() {
    replay("curve_client", fuzzing::curve_client);
}

#[test]
fn curve_server() {
    replay("curve_server", fuzzing::curve_server);
}

#[test]
fn authorized_keys() {
    replay("authorized_keys", fuzzing::authorized_keys);
}

#[test]
fn file_url() {
    replay("file_url", fuzzing::file_url);
}

#[test]
fn flow_machine() {
    replay("flow_machine", fuzzing::flow_machine);
}

#[test]
fn frame_codec() {
    replay("frame_codec", fuzzing::frame_codec);
}

#[test]
fn greeting_handshake() {
    replay("greeting_handshake", fuzzing::greeting_handshake);
}

#[test]
fn mdp_command() {
    replay("mdp_command", fuzzing::mdp_command);
}

#[test]
fn mjp_header() {
    replay("mjp_header", fuzzing::mjp_header);
}

#[test]
fn mjp_machine() {
    replay("mjp_machine", fuzzing::mjp_machine);
}

#[test]
fn nfp_command() {
    replay("nfp_command", fuzzing::nfp_command);
}

#[test]
fn router_ops() {
    replay("router_ops", fuzzing::router_ops);
}

#[test]
fn store_record() {
    replay("store_record", fuzzing::store_record);
}

#[test]
fn topics() {
    replay("topics", fuzzing::topics);
}

#[test]
fn zio_message() {
    replay("zio_message", fuzzing::zio_message);
}

#[test]
fn zcert() {
    replay("zcert", fuzzing::zcert);
}
