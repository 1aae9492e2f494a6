//! The archive: a folder of the run's name with the items, a manifest and their sums, as tar in zstd.

use std::io::{self, Read};

use oh_host::entry::digest;
use oh_model::run::RunId;
use ruzstd::decoding::StreamingDecoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use super::EvidenceFault;
use super::items::{Gathered, Item};

/// The version of the manifest.
const SCHEMA: u32 = 1;

/// What the items are, and what is missing.
const MANIFEST: &str = "manifest.json";

/// The digests, for `sha256sum --check`.
const SUMS: &str = "SHA256SUMS";

/// Packs what was gathered, and makes sure that it unpacks to the same.
pub(super) fn archive(run: &RunId, gathered: &Gathered) -> Result<Vec<u8>, EvidenceFault> {
    let plain = packed(run, gathered).map_err(EvidenceFault::Pack)?;
    let archive = compress_to_vec(plain.as_slice(), CompressionLevel::Fastest);
    // Nobody looks at it before it is needed, and then it is all that is left.
    let unpacked = unpacked(&archive, plain.len());
    if unpacked.is_none_or(|unpacked| unpacked != plain) {
        return Err(EvidenceFault::Unlike);
    }
    Ok(archive)
}

fn unpacked(archive: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(length);
    let decoder = StreamingDecoder::new(archive).ok()?;
    decoder.take(length as u64 + 1).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn packed(run: &RunId, gathered: &Gathered) -> io::Result<Vec<u8>> {
    let manifest = manifest(run, gathered);
    let manifest = Item { name: MANIFEST.into(), bytes: manifest.into_bytes(), is_cut: false };
    let files: Vec<&Item> = std::iter::once(&manifest).chain(&gathered.items).collect();
    let line = |item: &&Item| format!("{}  {}\n", digest(&item.bytes), item.name);
    let sums: String = files.iter().map(line).collect();
    let sums = Item { name: SUMS.into(), bytes: sums.into_bytes(), is_cut: false };
    let mut builder = Builder::new(Vec::new());
    for item in files.into_iter().chain([&sums]) {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o600);
        header.set_mtime(u64::try_from(gathered.at.as_second()).unwrap_or_default());
        header.set_size(item.bytes.len() as u64);
        builder.append_data(&mut header, format!("{run}/{}", item.name), item.bytes.as_slice())?;
    }
    builder.into_inner()
}

fn manifest(run: &RunId, gathered: &Gathered) -> String {
    let items = gathered.items.iter().map(|item| {
        json!({
            "name": item.name,
            "bytes": item.bytes.len(),
            "sha256": digest(&item.bytes),
            "is_cut": item.is_cut,
        })
    });
    let missing = gathered.missing.iter().map(|one| json!({ "name": one.name, "why": one.why }));
    let text = json!({
        "schema": SCHEMA,
        "tool": env!("CARGO_PKG_NAME"),
        "version": env!("CARGO_PKG_VERSION"),
        "run": run.to_string(),
        "at": gathered.at.to_string(),
        "by": gathered.by,
        "machine": gathered.machine,
        "items": items.collect::<Vec<Value>>(),
        "missing": missing.collect::<Vec<Value>>(),
    });
    format!("{text:#}\n")
}

#[cfg(test)]
mod tests {
    use super::super::items::Missing;
    use super::*;

    #[test]
    fn an_archive_has_its_items_and_what_they_are() {
        let item = |name: &str, bytes: &[u8]| Item {
            name: name.into(),
            bytes: bytes.to_vec(),
            is_cut: false,
        };
        let long = format!("sessions/{}.json", "x".repeat(200));
        let large: Vec<u8> = (0..3_000_000_u32).flat_map(|at| at.to_le_bytes()).collect();
        let gathered = Gathered {
            at: "2026-11-20T03:02:11Z".parse().unwrap(),
            by: json!({ "pid": 1 }),
            machine: json!({}),
            items: vec![item("a", b"text\n"), item(&long, b""), item("large", &large)],
            missing: vec![Missing { name: "b".into(), why: "gone".into() }],
        };
        let run = RunId::parse("20261120T030211Z").unwrap();
        let archive = archive(&run, &gathered).unwrap();
        let decoder = StreamingDecoder::new(archive.as_slice()).unwrap();
        let mut names = Vec::new();
        let mut texts = Vec::new();
        for entry in tar::Archive::new(decoder).entries().unwrap() {
            let mut entry = entry.unwrap();
            assert_eq!(entry.header().mode().unwrap(), 0o600);
            names.push(entry.path().unwrap().display().to_string());
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            texts.push(bytes);
        }
        let all = ["manifest.json", "a", &long, "large", "SHA256SUMS"];
        assert_eq!(names, all.map(|name| format!("{run}/{name}")));
        assert_eq!(texts[1], b"text\n");
        assert_eq!(texts[3], large);
        let manifest: Value = serde_json::from_slice(&texts[0]).unwrap();
        assert_eq!(manifest["items"][2]["bytes"], 12_000_000);
        assert_eq!(manifest["missing"], json!([{ "name": "b", "why": "gone" }]));
        let sums = String::from_utf8(texts[4].clone()).unwrap();
        assert_eq!(sums.lines().count(), 4);
        assert!(sums.contains(&format!("{}  a\n", digest(b"text\n"))), "{sums}");
    }

    #[test]
    fn what_is_no_archive_does_not_unpack() {
        assert_eq!(unpacked(b"", 1), None);
        assert_eq!(unpacked(b"nothing of that kind", 1), None);
    }
}
