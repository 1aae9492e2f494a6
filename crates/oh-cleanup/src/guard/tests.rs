use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::PathBuf;

use oh_host::boot::boot_id;
use oh_host::settings::{self, Wish};
use oh_model::escaped::Name;

use super::*;
use crate::step::Move;

const OLD: &str = "etc/nginx/vscode-projects";

/// A root with nothing but folders of nginx.
struct Lab {
    dir: tempfile::TempDir,
    host: Host,
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for below in [OLD, "etc/nginx/conf.d"] {
            fs::create_dir_all(dir.path().join(below)).unwrap();
        }
        let wish = Wish::of(None, Some(dir.path().display().to_string()), Vec::new());
        Self { host: settings::find(&wish).unwrap().into_host(), dir }
    }

    fn at(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    fn thing(&self, below: &str) -> Thing {
        let path = RealPath::parse(self.at(below).to_str().unwrap()).unwrap();
        quarantine::look(&path.parent(), &Name::new(path.name()).unwrap()).unwrap().unwrap()
    }

    fn objections(&self, thing: Thing) -> Vec<String> {
        let look = Look::begin(&self.host).unwrap();
        let step = Step::Move(Move {
            thing,
            what: String::new(),
            bytes: 0,
            is_more: false,
            may_change: false,
            is_session: false,
            is_of_nginx: false,
        });
        let plan = Plan { steps: vec![step], exclusions: Vec::new() };
        let objections = Guard::new(&look, boot_id().unwrap()).objections(&plan);
        let root = self.dir.path().display().to_string();
        objections.iter().map(|one| one.to_string().replace(&root, "")).collect()
    }
}

#[test]
fn only_what_begins_as_a_generated_file_leaves_the_folders_of_nginx() {
    let lab = Lab::new();
    let (theirs, mine) = ("# Auto-generated config for x\n", "# by hand\n");
    for (below, text, objection) in [
        ("a.conf", theirs, None),
        ("hand.conf", mine, Some("does not begin as a generated file")),
        ("a.txt", theirs, Some("is no left-over by its name")),
        ("../conf.d/a.conf", theirs, Some("is no left-over by its name")),
        ("../nginx.conf", theirs, Some("is no left-over by its name")),
    ] {
        let below = match below.strip_prefix("../") {
            Some(above) => format!("etc/nginx/{above}"),
            None => format!("{OLD}/{below}"),
        };
        fs::write(lab.at(&below), text).unwrap();
        let expected: Vec<String> =
            objection.map(|why| format!("/{below} {why}")).into_iter().collect();
        assert_eq!(lab.objections(lab.thing(&below)), expected);
    }
    let link = format!("{OLD}/link.conf");
    symlink(lab.at(&format!("{OLD}/a.conf")), lab.at(&link)).unwrap();
    let said = lab.objections(lab.thing(&link));
    assert_eq!(said, [format!("/{link} does not begin as a generated file")]);
    // One that is another by now is not moved.
    let changed = lab.thing(&format!("{OLD}/a.conf"));
    fs::write(lab.at(&format!("{OLD}/a.conf")), mine).unwrap();
    assert_eq!(lab.objections(changed), [""; 0]);
    if rustix::process::geteuid().is_root() {
        let other = format!("{OLD}/other.conf");
        fs::write(lab.at(&other), theirs).unwrap();
        chown(lab.at(&other), Some(4242), Some(4242)).unwrap();
        let said = lab.objections(lab.thing(&other));
        assert_eq!(said, [format!("/{other} belongs to nobody of cleanup.owners")]);
    }
}
