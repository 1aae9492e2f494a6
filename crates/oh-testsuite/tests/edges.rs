//! Who may import whom: the floors of the house, read from `cargo metadata`.
//!
//! Floor 0 is pure, floor 1 has one door to each part of the outside, floor 2 are the tools, which
//! never import each other. The test suite may import anything, the build tool nothing of ours.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};
use oh_testsuite::components;

const FLOOR_0: &[&str] = &["oh-model", "oh-config", "oh-nginx-conf", "oh-socketio"];
const FLOOR_1: &[&str] = &["oh-host", "oh-probe", "oh-term"];
const TOOLS: &[&str] = &[
    "oh-bridge",
    "oh-cleanup",
    "oh-deploy",
    "oh-instances",
    "oh-nginx",
    "oh-verify",
    "oh-wscheck",
];
/// Within floor 0, these may import `oh-model`.
const MAY_IMPORT_THE_MODEL: &[&str] = &["oh-config", "oh-nginx-conf"];

/// Tools that carry no TLS and no async runtime: they must work in the middle of an incident.
const INCIDENT_TOOLS: &[&str] = &["oh-cleanup", "oh-nginx", "oh-instances"];
const NOT_IN_AN_INCIDENT: &[&str] = &["oh-probe", "tokio", "reqwest", "rustls"];

fn allowed(from: &str, to: &str) -> bool {
    let floor_0 = FLOOR_0.contains(&to);
    if FLOOR_0.contains(&from) {
        to == "oh-model" && MAY_IMPORT_THE_MODEL.contains(&from)
    } else if FLOOR_1.contains(&from) {
        floor_0
    } else if TOOLS.contains(&from) {
        floor_0 || FLOOR_1.contains(&to)
    } else {
        from == "oh-testsuite"
    }
}

fn metadata(command: &mut MetadataCommand) -> Result<Metadata> {
    let manifest = components::workspace()?.join("Cargo.toml");
    let options = ["--offline".to_owned(), "--locked".to_owned()];
    Ok(command.manifest_path(manifest).other_options(options).exec()?)
}

#[test]
fn only_the_edges_of_the_floors_exist() -> Result<()> {
    let metadata = metadata(MetadataCommand::new().no_deps())?;
    let ours: BTreeSet<String> =
        metadata.packages.iter().map(|package| package.name.to_string()).collect();
    let mut wrong = Vec::new();
    for package in &metadata.packages {
        let imports = package.dependencies.iter().filter(|import| ours.contains(&import.name));
        for import in imports.filter(|import| !allowed(&package.name, &import.name)) {
            wrong.push(format!("{} imports {}", package.name, import.name));
        }
    }
    assert!(wrong.is_empty(), "edges that the floors do not allow: {wrong:#?}");
    Ok(())
}

#[test]
fn every_crate_stands_on_a_floor() -> Result<()> {
    let metadata = metadata(MetadataCommand::new().no_deps())?;
    let known: BTreeSet<&str> =
        [FLOOR_0, FLOOR_1, TOOLS, &["oh-testsuite", "xtask"]].concat().into_iter().collect();
    for package in &metadata.packages {
        assert!(known.contains(package.name.as_str()), "{} stands on no floor", package.name);
    }
    Ok(())
}

#[test]
fn the_table_allows_what_the_design_says_and_no_more() {
    let ways = [
        ("oh-config", "oh-model", true),
        ("oh-socketio", "oh-model", false),
        ("oh-model", "oh-config", false),
        ("oh-nginx-conf", "oh-config", false),
        ("oh-host", "oh-config", true),
        ("oh-host", "oh-term", false),
        ("oh-nginx", "oh-host", true),
        ("oh-nginx", "oh-deploy", false),
        ("oh-testsuite", "oh-nginx", true),
        ("xtask", "oh-model", false),
    ];
    for (from, to, expected) in ways {
        assert_eq!(allowed(from, to), expected, "{from} -> {to}");
    }
}

#[test]
fn tools_for_an_incident_carry_no_tls_and_no_async_runtime() -> Result<()> {
    // Packages of other systems need not be on this disk.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let platform =
        vec!["--offline".into(), "--locked".into(), "--filter-platform".into(), platform];
    let manifest = components::workspace()?.join("Cargo.toml");
    let metadata = MetadataCommand::new().manifest_path(manifest).other_options(platform).exec()?;
    let resolve = metadata.resolve.as_ref().context("nothing was resolved")?;
    let name = |id: &PackageId| metadata[id].name.to_string();
    let imports: BTreeMap<&PackageId, Vec<&PackageId>> = resolve
        .nodes
        .iter()
        .map(|node| {
            let shipped = node.deps.iter().filter(|import| {
                import.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal)
            });
            (&node.id, shipped.map(|import| &import.pkg).collect())
        })
        .collect();

    let mut wrong = Vec::new();
    for tool in metadata.workspace_packages() {
        if !INCIDENT_TOOLS.contains(&tool.name.as_str()) {
            continue;
        }
        let mut seen = BTreeSet::from([&tool.id]);
        let mut next = vec![&tool.id];
        while let Some(id) = next.pop() {
            if NOT_IN_AN_INCIDENT.contains(&name(id).as_str()) {
                wrong.push(format!("{} reaches {}", tool.name, name(id)));
            }
            next.extend(imports[id].iter().filter(|import| seen.insert(import)));
        }
        assert!(seen.len() > 5, "{} was resolved to {} packages", tool.name, seen.len());
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}
