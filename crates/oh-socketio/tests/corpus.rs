//! What the fuzzer begins with, gone over without it.

#[path = "../fuzz/drive.rs"]
mod drive;

#[test]
fn the_corpus_of_the_fuzzer_does_no_harm() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/connection");
    let entries: Vec<_> = std::fs::read_dir(folder).expect("the corpus is there").collect();
    assert!(entries.len() >= 9, "{folder} has {} files", entries.len());
    for entry in entries {
        let file = entry.expect("it can be listed").path();
        drive::drive(&std::fs::read(file).expect("it can be read"));
    }
}
